"""What benchmarks/index.py measures sqlrag against, each as its own documentation would have it.

Defaults where there are some. A candidate builds its index in a folder, and opens it in another process, where it
searches with one thread: the environment says so to OpenMP, BLAS and Rust's pools, a call where a library has one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index_candidate import HNSW_SWEEP, Candidate, blocks
from index_memory import CANDIDATES as IN_MEMORY

if TYPE_CHECKING:
    import numpy as np


class SQLiteVec(Candidate):
    """A flat vec0 table: exact."""

    title = "sqlite-vec, flat"
    package = "sqlite-vec"
    modules = ("apsw", "sqlite_vec")

    def _connect(self, folder: Path):
        import apsw  # the standard library's sqlite3 cannot load extensions in every Python
        import sqlite_vec

        connection = apsw.Connection(str(folder / "index.db"))
        connection.enable_load_extension(True)
        connection.load_extension(sqlite_vec.loadable_path())
        return connection

    def build(self, vectors: np.ndarray, folder: Path) -> float | None:
        connection = self._connect(folder)
        connection.execute(f"CREATE VIRTUAL TABLE vectors USING vec0 (embedding FLOAT[{vectors.shape[1]}])")
        for start, block in blocks(vectors):
            with connection:
                rows = ((start + place, vector.tobytes()) for place, vector in enumerate(block))
                connection.executemany("INSERT INTO vectors (rowid, embedding) VALUES (?, ?)", rows)
        connection.close()
        return None

    def open(self, folder: Path) -> None:
        self._connection = self._connect(folder)

    def query(self, vector: np.ndarray) -> bytes:
        return vector.tobytes()

    def search(self, query: bytes, k: int) -> list[int]:
        sql = "SELECT rowid FROM vectors WHERE embedding MATCH ? AND k = ?"
        return [row[0] for row in self._connection.execute(sql, (query, k))]


class DuckDBVss(Candidate):
    """HNSW of the extension vss, in a file."""

    title = "DuckDB vss, HNSW"
    package = "duckdb"
    modules = ("duckdb", "duckdb_extension_vss", "pyarrow")
    setting = "ef_search"
    sweep = HNSW_SWEEP

    def _connect(self, folder: Path):
        import duckdb
        import duckdb_extension_vss

        (extension,) = Path(duckdb_extension_vss.__file__).parent.rglob("vss.duckdb_extension")
        # The extension must be there before the file is opened: its index may have to be replayed from the WAL.
        connection = duckdb.connect()
        connection.execute(f"LOAD '{extension}'")
        connection.execute("SET hnsw_enable_experimental_persistence = true")
        connection.execute(f"ATTACH '{folder / 'index.duckdb'}' AS file")
        connection.execute("USE file")
        return connection

    def build(self, vectors: np.ndarray, folder: Path) -> float | None:
        import pyarrow as pa

        dimension = vectors.shape[1]
        connection = self._connect(folder)
        connection.execute(f"CREATE TABLE vectors (id INTEGER, embedding FLOAT[{dimension}])")
        for start, block in blocks(vectors):
            column = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), dimension)
            rows = pa.table({"id": pa.array(range(start, start + len(block)), pa.int32()), "embedding": column})
            connection.execute("INSERT INTO vectors SELECT * FROM rows")
            del rows
        started = time.perf_counter()
        connection.execute("CREATE INDEX near ON vectors USING HNSW (embedding)")
        connection.execute("CHECKPOINT file")
        connection.close()
        return time.perf_counter() - started

    def open(self, folder: Path) -> None:
        self._connection = self._connect(folder)
        self._connection.execute("SET threads = 1")
        ((kind,),) = self._connection.execute("SELECT typeof(embedding) FROM vectors LIMIT 1").fetchall()
        # As a text the vector costs 2 ms, as a list 30: DuckDB's optimiser goes through it number by number.
        self._sql = f"SELECT id FROM vectors ORDER BY array_distance(embedding, ?::VARCHAR::{kind}) LIMIT ?"

    def tune(self, setting: int) -> None:
        self._connection.execute(f"SET hnsw_ef_search = {setting}")

    def query(self, vector: np.ndarray) -> str:
        return str(vector.tolist())

    def search(self, query: str, k: int) -> list[int]:
        return [row[0] for row in self._connection.execute(self._sql, [query, k]).fetchall()]


class LanceDB(Candidate):
    """IVF_HNSW_SQ, which LanceDB's documentation calls the best of recall and latency."""

    title = "LanceDB, HNSW-SQ"
    package = "lancedb"
    modules = ("lancedb", "pyarrow")
    setting = "ef"
    sweep = HNSW_SWEEP

    def _index(self):
        from lancedb.index import HnswSq

        return HnswSq()

    def build(self, vectors: np.ndarray, folder: Path) -> float | None:
        import lancedb
        import pyarrow as pa

        dimension = vectors.shape[1]
        schema = pa.schema([("id", pa.int32()), ("vector", pa.list_(pa.float32(), dimension))])

        def batches() -> Iterator[pa.RecordBatch]:
            for start, block in blocks(vectors):
                ids = pa.array(range(start, start + len(block)), pa.int32())
                column = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), dimension)
                yield pa.RecordBatch.from_arrays([ids, column], schema=schema)

        table = lancedb.connect(folder).create_table("vectors", batches(), schema=schema)
        started = time.perf_counter()
        table.create_index("vector", config=self._index())
        return time.perf_counter() - started

    def open(self, folder: Path) -> None:
        import lancedb

        self._table = lancedb.connect(folder).open_table("vectors")

    def tune(self, setting: Any) -> None:
        self._setting = setting

    def _tuned(self, search):
        return search.ef(self._setting)

    def search(self, query: np.ndarray, k: int) -> list[int]:
        found = self._tuned(self._table.search(query).limit(k)).select(["id"])
        return found.to_arrow()["id"].to_pylist()


class LanceDBPQ(LanceDB):
    """IVF_PQ, LanceDB's default, its candidates compared once more with the vectors as they are."""

    title = "LanceDB, IVF-PQ"
    setting = "nprobes, refine"
    sweep = ((8, 10), (16, 10), (32, 10), (32, 20), (64, 20), (128, 20), (128, 40))

    def _index(self):
        from lancedb.index import IvfPq

        return IvfPq()

    def _tuned(self, search):
        nprobes, refine = self._setting
        return search.nprobes(nprobes).refine_factor(refine)


class Chroma(Candidate):
    """A persistent collection."""

    title = "Chroma, HNSW"
    package = "chromadb"
    modules = ("chromadb",)
    setting = "ef_search"
    sweep = HNSW_SWEEP

    def _connect(self, folder: Path):
        import chromadb

        return chromadb.PersistentClient(folder, chromadb.Settings(anonymized_telemetry=False))

    def build(self, vectors: np.ndarray, folder: Path) -> float | None:
        client = self._connect(folder)
        collection = client.create_collection("vectors", embedding_function=None)
        for start, block in blocks(vectors):
            collection.add(ids=[str(id_) for id_ in range(start, start + len(block))], embeddings=block)
        client.close()
        return None

    def open(self, folder: Path) -> None:
        self._folder = folder
        self._client = self._connect(folder)

    def tune(self, setting: int) -> None:
        # An index that is open keeps the ef_search that it was opened with.
        collection = self._client.get_collection("vectors", embedding_function=None)
        collection.modify(configuration={"hnsw": {"ef_search": setting, "num_threads": 1}})
        self._client.close()
        self._client = self._connect(self._folder)
        self._collection = self._client.get_collection("vectors", embedding_function=None)

    def search(self, query: np.ndarray, k: int) -> list[int]:
        return [int(id_) for id_ in self._collection.query(query, n_results=k, include=[])["ids"][0]]


CANDIDATES: dict[str, type[Candidate]] = {
    "sqlite-vec": SQLiteVec,
    "duckdb-hnsw": DuckDBVss,
    "lancedb-hnsw": LanceDB,
    "lancedb-ivf-pq": LanceDBPQ,
    "chroma": Chroma,
    **IN_MEMORY,
}
