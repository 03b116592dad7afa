"""Spark SQL on this machine's cores against one machine's database: building, one question, many questions, growth.

    python benchmarks/spark.py FOLDER                        # a collection in BEIR's layout; prints
    python benchmarks/spark.py FOLDER --texts 2000 --questions 60 --vectors 100000 --shards 1,16,64 --write

Each figure has CPU seconds, of this process with Spark's JVM and its Python workers, beside seconds of the clock, since
other work may run on the machine. `--vectors N` makes an index of N random unit vectors, with the texts of the
collection repeated, in each number of shards: no model runs, and distances mean nothing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import sqlrag
from sqlrag.models import Embedder
from sqlrag.spark import build, register, search
from sqlrag.spark.copies import put_shard
from sqlrag.spark.folder import Folder
from sqlrag.spark.manifest import Manifest
from sqlrag.spark.shards import Content
from sqlrag.store.new_record import IndexOptions

REPORT = Path(__file__).with_suffix(".md")
TICKS = os.sysconf("SC_CLK_TCK")
TIMES = 7
AT_ONCE = 2_000

STAGE_1 = "SELECT id, distance FROM vector_top_k('chunks', :q, 25)"
WITH_CHUNK = """
    SELECT   c.id, c.text, rerank_score(:q, c.text) AS score
    FROM     vector_top_k('chunks', embed(:q), 25) AS hit, {lateral} chunk('chunks', hit.id) AS c
    ORDER BY score DESC LIMIT 3
"""
WITH_JOIN = """
    SELECT   c.id, c.text, rerank_score(:q, c.text) AS score
    FROM     vector_top_k('chunks', embed(:q), 25) AS hit JOIN chunks AS c ON c.id = hit.id
    ORDER BY score DESC LIMIT 3
"""


def cpu() -> float:
    """Return the CPU seconds of this process and its descendants, with those that have ended."""
    parents, used = {}, {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            fields = Path("/proc", name, "stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        parents[int(name)], used[int(name)] = int(fields[1]), sum(map(int, fields[11:15]))
    mine, grown = {os.getpid()}, True
    while grown:
        more = {one for one, parent in parents.items() if parent in mine} - mine
        mine, grown = mine | more, bool(more)
    return sum(used.get(one, 0) for one in mine) / TICKS


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of the clock and of the CPU."""
    clock, before = time.perf_counter(), cpu()
    work()
    return time.perf_counter() - clock, cpu() - before


def repeated(work: Callable[[str], object], questions: list[str]) -> tuple[float, float]:
    """Return the median of the clock and the mean of the CPU, in milliseconds, after two questions to warm up."""
    for question in questions[:2]:
        work(question)
    found = [measured(lambda one=question: work(one)) for question in questions[2 : 2 + TIMES]]
    return statistics.median(one[0] for one in found) * 1000, statistics.mean(one[1] for one in found) * 1000


def texts_of(path: Path) -> list[str]:
    """Return the texts of a file of BEIR's."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def session():
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.memory", "2g")
        .config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    return spark


def of_build(spark, rows: list[tuple[int, str]], folder: Path) -> list[str]:
    """Return lines about building: Spark's tasks, and one machine's `create_index`, on the same cores."""
    frame = spark.createDataFrame(rows, "id BIGINT, body STRING").repartition(2).cache()
    frame.count()
    clock, seconds = measured(lambda: build(frame, folder / "index", text="body", key="id", shards=4))

    def alone() -> None:
        with sqlrag.connect(folder / "one.db") as db:
            db.execute("CREATE TABLE source (id INTEGER PRIMARY KEY, body TEXT)")
            for row in rows:
                db.execute("INSERT INTO source VALUES (?, ?)", row)
            db.create_index("chunks", "source", "body")

    alone_clock, alone_seconds = measured(alone)
    share = alone_seconds / seconds
    return [
        f"| build, {len(rows):,} texts, 4 shards | {clock:.1f} s, {seconds:.1f} s CPU | "
        f"{alone_clock:.1f} s, {alone_seconds:.1f} s CPU | throughput by CPU {share:.0%} |"
    ]


def of_questions(spark, db: sqlrag.Database, questions: list[str]) -> Iterator[str]:
    """Yield lines about one question at a time, and about many at once."""

    def on_spark(statement: str) -> Callable[[str], object]:
        return lambda question: spark.sql(statement, args={"q": question}).collect()

    def alone(statement: str) -> Callable[[str], object]:
        return lambda question: db.execute(statement, {"q": question}).fetchall()

    chunk = (WITH_CHUNK.format(lateral="LATERAL"), WITH_CHUNK.format(lateral=""))
    for name, there, here in [
        ("Spark's floor: a constant", "SELECT :q", None),
        ("a Python function: `SELECT embed(:q)`", "SELECT embed(:q)", "SELECT embed(:q)"),
        ("stage 1: `vector_top_k`", STAGE_1, STAGE_1),
        ("both stages with `chunk()`", *chunk),
        ("both stages with a join", WITH_JOIN, WITH_JOIN),
        ("`search()`", "SELECT id, score FROM search('chunks', :q)", "SELECT id, score FROM search('chunks', :q)"),
    ]:
        clock, seconds = repeated(on_spark(there), [f"{one} ({name})" for one in questions])
        said = "-"
        if here is not None:
            one_clock, one_seconds = repeated(alone(here), [f"{one} [{name}]" for one in questions])
            said = f"{one_clock:.0f} ms, {one_seconds:.0f} ms CPU"
        yield f"| {name} | {clock:.0f} ms, {seconds:.0f} ms CPU | {said} | |"
    asked = [f"{one} (many)" for one in questions]
    clock, seconds = measured(lambda: search(spark, asked).collect())
    loop = [f"{one} [many]" for one in questions]
    one_clock, one_seconds = measured(lambda: [db.search(one) for one in loop])
    yield (
        f"| {len(asked)} questions at once, reranked | {clock:.1f} s, {seconds:.1f} s CPU | "
        f"{one_clock:.1f} s, {one_seconds:.1f} s CPU | {seconds / one_seconds:.2f} times the CPU |"
    )


def of_growth(spark, texts: list[str], sizes: tuple[int, int], questions: list[str], folder: Path) -> str:
    """Return a line about an index of random vectors; `sizes`: how many, in how many shards."""
    count, shards = sizes
    embedder = Embedder()
    record = IndexOptions().record("chunks", embedder, source=("source", "id"), template="{body}", tracking="triggers")
    columns = {"id": "INTEGER", "body": "TEXT"}
    generator = np.random.default_rng(0)

    def content(first: int, size: int) -> Content:
        def chunks() -> Iterator:
            for start in range(first, first + size, AT_ONCE):
                ids = range(start, min(start + AT_ONCE, first + size))
                vectors = generator.standard_normal((len(ids), record.dimension), np.float32)
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                bodies = [texts[one % len(texts)] for one in ids]
                yield (
                    [(one, one, 0, 0, len(body), body, 100, "") for one, body in zip(ids, bodies, strict=True)],
                    vectors,
                )

        rows = ((one, "") for one in range(first, first + size))
        return Content(rows, ((one, b"") for one in range(first, first + size)), chunks())

    path = folder / f"made-{count}-{shards}"
    size = count // shards
    made = []
    clock, seconds = measured(
        lambda: made.extend(
            put_shard(Folder(path), number, record, columns, content(1 + number * size, size))
            for number in range(shards)
        )
    )
    Manifest(1, record, columns, tuple(made), shards).write(Folder(path))
    register(spark, path)
    stage, cpu_of_stage = repeated(lambda one: spark.sql(STAGE_1, args={"q": one}).collect(), questions)
    chunk = WITH_CHUNK.format(lateral="LATERAL")
    whole, cpu_of_whole = repeated(lambda one: spark.sql(chunk, args={"q": f"{one}?"}).collect(), questions)
    gigabytes = sum(one.size for one in made) / 1e9
    return (
        f"| {count:,} | {shards} | {gigabytes:.2f} GB | {clock:.0f} s, {seconds:.0f} s CPU | "
        f"{stage:.0f} ms, {cpu_of_stage:.0f} ms CPU | {whole:.0f} ms, {cpu_of_whole:.0f} ms CPU |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a collection in BEIR's layout")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--questions", type=int, default=30)
    parser.add_argument("--vectors", type=lambda text: [int(one) for one in text.split(",")], default=[])
    parser.add_argument("--shards", type=lambda text: [int(one) for one in text.split(",")], default=[4])
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    given = parser.parse_args()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    texts, questions = (texts_of(given.folder / f"{name}.jsonl.gz") for name in ("corpus", "queries"))
    questions = questions[: max(given.questions, TIMES + 2)]
    spark = session()
    work = Path(tempfile.mkdtemp(prefix="sqlrag-benchmark-"))
    options = " ".join(["FOLDER", *sys.argv[2:]])
    lines = ["# Spark SQL", "", f"`python benchmarks/spark.py {options}`, local[2] on two cores that were shared.", ""]
    try:
        lines += ["| | Spark | one machine | |", "| --- | --- | --- | --- |"]
        lines += of_build(spark, list(enumerate(texts[: given.texts])), work)
        register(spark, work / "index")
        with sqlrag.connect(work / "one.db", read_only=True) as db:
            lines += of_questions(spark, db, questions)
        if given.vectors:
            lines += ["", "Random vectors:", "", "| vectors | shards | size | written | `vector_top_k` | both stages |"]
            lines += ["| ---: | ---: | ---: | --- | --- | --- |"]
        for count in given.vectors:
            for shards in given.shards:
                lines.append(of_growth(spark, texts, (count, shards), questions, work))
                print(lines[-1], flush=True)
                shutil.rmtree(work / f"made-{count}-{shards}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if given.write:
        REPORT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
