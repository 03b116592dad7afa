"""What grows with an index: the cost of one insert, of a batch, and of a query, as the index has 10 k to 1 M chunks.

    python benchmarks/growth.py --vectors FILE.npy --keep FOLDER [--n 10000,100000,1000000] [--codes 10000000] [--write]

FILE.npy: vectors as of benchmarks/index_vectors.py. Each database is made through sqlrag's own writer, one chunk of 30
words to a document; FOLDER keeps it, and a second run goes on with it. Then, on a connection as `connect` opens it:
documents of one chunk, each in a transaction of its own, batches of 64 chunks in a transaction, and searches for 25
neighbours. The vectors are given, so no model's time is in it. "Without the disk": the same with PRAGMA synchronous =
OFF, where a commit does not wait until the disk has it; the rest is work of ours.

--codes: how long the pass over so many codes takes, by itself, with a database that has random codes and no vectors:
the first time, when it reads them from the file, and afterwards.

Last, the tokens per second of `ingest`, of those that the model alone embeds in the same chunks, in turns.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from index_vectors import QUERIES, K

import sqlrag
from sqlrag.cli.standard_library import harvest
from sqlrag.engines.document_writer import DocumentWriter
from sqlrag.engines.sqlite.functions import SQLiteIndexes, load_vec
from sqlrag.engines.sqlite.index_tables import SQLiteTables
from sqlrag.store.codes.blocks import MOST, Block, CodeBlocks
from sqlrag.store.codes.candidates import candidates_for
from sqlrag.store.codes.quantization import words_of
from sqlrag.store.driver.opening import open_sqlite, use_wal
from sqlrag.store.encoders import chunker_of
from sqlrag.store.registry import IndexRecord
from sqlrag.store.statements import statement
from sqlrag.store.top_k import Index
from sqlrag.text.chunking import DEFAULT_MAX_TOKENS, Chunk
from sqlrag.text.documents import Document, Part

if TYPE_CHECKING:
    import apsw

HERE = Path(__file__).parent
INSERTS, BATCHES, BATCH = 300, 30, 64
WORDS, VOCABULARY = 30, 50_000
BLOCK = 4096
ROUNDS, DOCUMENTS = 3, 400


def texts() -> Iterator[str]:
    """Yield texts whose words are as frequent as those of a language (Zipf)."""
    generator = np.random.default_rng(1)
    while True:
        for words in (generator.zipf(1.2, size=(BLOCK, WORDS)) % VOCABULARY).tolist():
            yield " ".join(f"w{word}" for word in words)


def parts(vectors: np.ndarray, words: Iterator[str], first: int) -> list[Part]:
    """Return documents of one chunk each."""
    found = []
    for number, (vector, text) in enumerate(zip(vectors, words, strict=False), start=first):
        document = Document(f"doc {number}", "", text, {}, hashlib.sha256(text.encode()).hexdigest())
        part = Part(document, [Chunk(0, 0, len(text), text, WORDS)])
        part.vectors = vector[None, :]
        found.append(part)
    return found


def opened(path: Path, dimension: int) -> tuple[DocumentWriter, SQLiteIndexes, apsw.Connection]:
    """Return writer, indexes and connection of a database, which is made where there is none."""
    connection = open_sqlite(str(path))
    load_vec(connection)
    record = IndexRecord("chunks", "documents", "id", "none", "", dimension, "", "", 256, 200, 0)
    use_wal(connection)
    writer = DocumentWriter(SQLiteTables(connection, str(path), record))
    return writer, SQLiteIndexes(connection), connection


def made(path: Path, vectors: np.ndarray) -> float | None:
    """Make a database of these vectors unless it is there; return the seconds."""
    if path.exists():
        return None
    started = time.perf_counter()
    unfinished = path.with_suffix(".part")
    for suffix in ("", "-wal", "-shm"):
        Path(f"{unfinished}{suffix}").unlink(missing_ok=True)
    writer, _, connection = opened(unfinished, vectors.shape[1])
    words = texts()
    for start in range(0, len(vectors), BLOCK):
        writer.write(parts(np.array(vectors[start : start + BLOCK]), words, start))
    writer.keep_up(lambda _what, _share: None)
    connection.close()  # the last to close puts the log into the file
    unfinished.rename(path)
    return time.perf_counter() - started


def timed(function, *arguments) -> float:
    """Return the milliseconds of a call."""
    started = time.perf_counter()
    function(*arguments)
    return (time.perf_counter() - started) * 1000


def cost(path: Path, vectors: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """Return the milliseconds of inserts, batches and searches."""
    writer, indexes, connection = opened(path, vectors.shape[1])

    def search(query: bytes) -> list[tuple[int, float, int]]:
        return indexes.open("chunks").vector_top_k(query, K)

    words = texts()
    numbers = itertools.count(time.time_ns(), 10**6)
    searches = [timed(search, query.tobytes()) for query in (*queries[:20], *queries)][20:]
    found = {"query p50": median(searches)}
    for mode, note in (("FULL", ""), ("OFF", ", without the disk")):
        connection.execute(f"PRAGMA synchronous = {mode}")
        singles = [timed(writer.write, parts(vector[None, :], words, next(numbers))) for vector in vectors[:INSERTS]]
        batched = (vectors[INSERTS + batch * BATCH :][:BATCH] for batch in range(BATCHES))
        batches = [timed(writer.write, parts(taken, words, next(numbers))) for taken in batched]
        found |= {f"insert p50{note}": median(singles), f"batch p50{note}": median(batches)}
    connection.close()
    return found


def codes_alone(path: Path, n: int, queries: np.ndarray) -> dict[str, float]:
    """Return the milliseconds of a pass over n random codes: the first one, and the median of the others."""
    dimension = queries.shape[1]
    record = IndexRecord("chunks", "documents", "id", "none", "", dimension, "", "", 256, 200, 0)
    connection = open_sqlite(str(path))
    if not list(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'chunks_codes'")):
        generator = np.random.default_rng(2)
        connection.execute("BEGIN; CREATE TABLE chunks (id)")
        connection.execute(statement("index/create_codes"))
        for start in range(1, n + 1, MOST):
            ids = np.arange(start, min(start + MOST, n + 1))
            codes = generator.integers(1 << 64, size=(len(ids), words_of(dimension)), dtype=np.uint64)
            CodeBlocks(connection, record).append(Block(ids, np.ones(len(ids), np.float32), codes))
        connection.execute("COMMIT")
    load_vec(connection)
    index = Index(connection, record)
    times = [timed(index.nearest_codes, query.tobytes(), candidates_for(K, [])) for query in queries[:50]]
    connection.close()
    return {"codes": n, "first pass": times[0], "pass p50": median(times[1:])}


def throughput() -> tuple[float, float]:
    """Return the tokens per second of `ingest`, and of the model alone on the same chunks; medians of some turns."""
    embedder = sqlrag.Embedder()
    chunker = chunker_of(embedder, DEFAULT_MAX_TOKENS, 0)
    documents = list(itertools.islice(harvest(), ROUNDS * DOCUMENTS))
    embedder.encode_document(["warm up"])
    ingested, alone = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS):
            taken = documents[turn::ROUNDS]
            chunks = [chunk.text for document in taken for chunk in chunker.chunks(document.text)]
            tokens = sum(map(embedder.token_count, chunks))
            alone.append(tokens / timed(embedder.encode_document, chunks) * 1000)
            with sqlrag.connect(Path(folder) / f"{turn}.db") as db:
                ingested.append(tokens / timed(db.ingest, taken) * 1000)
    return median(ingested), median(alone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--n", default="10000,100000,1000000")
    parser.add_argument("--codes", default="1000000,3000000,10000000")
    parser.add_argument("--write", action="store_true", help="write benchmarks/growth.md and growth.json")
    options = parser.parse_args()
    vectors = np.load(options.vectors, mmap_mode="r")
    options.keep.mkdir(exist_ok=True)
    queries = np.array(vectors[-QUERIES:])
    new = INSERTS + BATCHES * BATCH
    rows = []
    for n in map(int, options.n.split(",")):
        indexed = vectors[: min(n, len(vectors) - QUERIES - new)]
        path = options.keep / f"growth-{n}.db"
        seconds = made(path, indexed)
        rows.append({"chunks": n, "made": seconds, **cost(path, np.array(vectors[-QUERIES - new : -QUERIES]), queries)})
        print(rows[-1], flush=True)
    passes = [
        codes_alone(options.keep / f"codes-{n}.db", n, queries)
        for n in map(int, filter(None, options.codes.split(",")))
    ]
    print(*passes, sep="\n", flush=True)
    ingested, alone = throughput()
    table = report(rows, passes, ingested, alone)
    print(table)
    if options.write:
        (HERE / "growth.md").write_text(table, encoding="utf-8")
        found = {"rows": rows, "passes": passes, "ingest tokens/s": ingested, "model tokens/s": alone}
        (HERE / "growth.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def report(rows: list[dict[str, float]], passes: list[dict[str, float]], ingested: float, alone: float) -> str:
    """Return the Markdown of growth.md."""
    lines = [
        "# What grows with an index",
        "",
        f"`python benchmarks/growth.py` on {len(os.sched_getaffinity(0))} CPUs ({platform.machine()}), Python "
        f"{platform.python_version()}, load {os.getloadavg()[1]:.1f}; medians, milliseconds. What is measured "
        "stands at the top of the script.",
        "",
        f"| chunks | one insert | without the disk | a batch of {BATCH} | without the disk | a query, {K} rows |",
        "| --: | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        names = ("insert p50", "insert p50, without the disk", "batch p50", "batch p50, without the disk", "query p50")
        values = [row[name] for name in names]
        lines.append(f"| {row['chunks']:,} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    lines += ["", "| codes alone | the first pass | a pass |", "| --: | --: | --: |"]
    lines += [f"| {one['codes']:,} | {one['first pass']:.1f} | {one['pass p50']:.2f} |" for one in passes]
    lines += [
        "",
        f"`ingest` embeds {ingested:,.0f} tokens/s, the model alone {alone:,.0f} in the same chunks: "
        f"{ingested / alone:.1%}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
