"""sqlrag's own candidates for benchmarks/index.py: the index below the SQL functions, without models and texts.

On DuckDB it is the SQL function itself: what stands between a statement and the index is a part of the question there.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from index_candidate import Candidate, blocks

import sqlrag
from sqlrag.engines.sqlite.functions import SQLiteIndexes, load_vec
from sqlrag.store.driver.opening import open_sqlite
from sqlrag.store.registry import IndexRecord
from sqlrag.store.upkeep import keep_up
from sqlrag.store.writer import IndexWriter, immediate
from sqlrag.text.documents import Document

if TYPE_CHECKING:
    import numpy as np


class Codes(Candidate):
    """One-bit codes; as many candidates as the index has measured, and some others for the plot."""

    title = "sqlrag"
    package = "sqlrag"
    modules = ("apsw", "sqlite_vec")
    setting = "candidates"
    sweep = (None, 25, 50, 100, 200, 400, 800)
    vectors = "float32"
    scans: bool | None = None
    """Whether sqlrag's C library scans the codes; None: where it was built."""

    def build(self, vectors: np.ndarray, folder: Path) -> float | None:
        """Insert the vectors with their codes, then make all codes anew and measure the candidates, which is timed."""
        connection = open_sqlite(str(folder / "index.db"))
        connection.execute("PRAGMA journal_mode = WAL")
        load_vec(connection)
        record = IndexRecord(
            "chunks", "documents", "id", "none", "", vectors.shape[1], "", "", 256, 200, 0, vectors=self.vectors
        )
        writer = IndexWriter(connection, record)
        with immediate(connection):
            writer.create()
        for start, block in blocks(vectors):
            with immediate(connection):
                writer.insert([(id_, id_, 0, 0, 1, "x", 1) for id_ in range(start + 1, start + 1 + len(block))], block)
        started = time.perf_counter()
        with immediate(connection):
            writer.remake_codes()
        keep_up(connection, record, lambda _what, _share: None)
        connection.close()
        return time.perf_counter() - started

    def open(self, folder: Path) -> None:
        connection = open_sqlite(str(folder / "index.db"), read_only=True)
        load_vec(connection)
        self._indexes = SQLiteIndexes(connection, scans=self.scans)

    def tune(self, setting: int | None) -> None:
        self._candidates = setting

    def measured(self) -> tuple[int, float | None]:
        """Return the default of candidates for 25, and its recall as the index has measured it."""
        return self._indexes.open("chunks").measured()

    def query(self, vector: np.ndarray) -> bytes:
        return vector.tobytes()

    def search(self, query: bytes, k: int) -> list[int]:
        found = self._indexes.open("chunks").vector_top_k(query, k, candidates=self._candidates)
        return [row[0] - 1 for row in found]


class CodesByNumpy(Codes):
    """The same where the C library was not built."""

    title = "sqlrag, without its C library"
    scans = False


class CodesInt8(Codes):
    """Vectors in a quarter of the space."""

    title = "sqlrag, int8"
    vectors = "int8"


class OnDuckDB(Codes):
    """The index file beside a DuckDB database, asked as users do: in SQL, with DuckDB around it.

    The time of the index is that of opening the database without its index file, which is made then.
    """

    title = "sqlrag on DuckDB"
    modules = ("apsw", "sqlite_vec", "duckdb", "pyarrow", "onnxruntime")

    def build(self, vectors: np.ndarray, folder: Path) -> float | None:
        import duckdb
        import pyarrow as pa

        path = str(folder / "index.duckdb")
        with sqlrag.connect(path) as database:  # the tables, as an ingest makes them
            database.ingest([Document("first", "", "A text.", {}, "hash")])
        with duckdb.connect(path) as connection:
            connection.execute("DELETE FROM chunks_embedding; DELETE FROM chunks; DELETE FROM documents")
            for start, block in blocks(vectors):
                ids = pa.array(range(start + 1, start + 1 + len(block)))
                embeddings = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), block.shape[1])
                connection.register("rows", pa.table({"id": ids, "embedding": embeddings}))
                connection.execute("INSERT INTO chunks SELECT id, id, 0, 0, 1, 'x', 1, '' FROM rows")
                connection.execute("INSERT INTO chunks_embedding SELECT id, embedding FROM rows")
        Path(f"{path}.sqlrag").unlink()
        started = time.perf_counter()
        sqlrag.connect(path).close()
        return time.perf_counter() - started

    def open(self, folder: Path) -> None:
        self._database = sqlrag.connect(folder / "index.duckdb", read_only=True)

    def query(self, vector: np.ndarray) -> list[float]:
        return vector.tolist()

    def search(self, query: list[float], k: int) -> list[int]:
        sql = f"SELECT id FROM vector_top_k('chunks', CAST(:q AS FLOAT[{len(query)}]), :k, NULL, :candidates)"
        rows = self._database.execute(sql, {"q": query, "k": k, "candidates": self._candidates}).fetchall()
        return [id_ - 1 for (id_,) in rows]


CANDIDATES = {
    "sqlrag": Codes,
    "sqlrag-numpy": CodesByNumpy,
    "sqlrag-int8": CodesInt8,
    "sqlrag-duckdb": OnDuckDB,
}
