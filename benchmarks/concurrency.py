"""Eight readers and two writers, at once, on one file of each engine: errors, torn reads, latency.

    python benchmarks/concurrency.py [--seconds 180] [--rows 2000] [--write]

The table `review` has an index over it. Three readers are open read-only, four for writing (they bring in a small
backlog before each query), one is plain apsw with `sqlrag.register`. One writer is the standard library's sqlite3, with
its default time-out of 5 s: single-row and bulk transactions, inserts, updates, deletes, upserts, some
rolled back. The other one syncs and ingests; in the middle of the time it makes the index anew. Each reader also looks,
in one statement, for chunks without a vector or without full text and the reverse. What is counted as an error is
whatever reaches a caller. Reads are timed first with nobody writing, then beside the writers; in WAL mode and in
SQLite's default, a rollback journal (DELETE).

DuckDB gives a file to one process, so there the same ten are threads of one: two readers with a `Database` of their
own, four that share one, two with a plain duckdb connection and `sqlrag.register`; a plain duckdb writer on its own
connection, and the sqlrag writer. Another process tries to open the file all the while, and must be refused.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import queue
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import duckdb
import numpy as np
from short_texts import some_words

import sqlrag
from sqlrag.errors import BacklogWarning

CONTEXT = multiprocessing.get_context("spawn")

Results: TypeAlias = "multiprocessing.Queue | queue.Queue"
Ask: TypeAlias = Callable[..., list[tuple[Any, ...]]]

TORN = """
    SELECT (SELECT count(*) FROM reviews WHERE id NOT IN (SELECT rowid FROM reviews_vec))
         + (SELECT count(*) FROM reviews_vec WHERE rowid NOT IN (SELECT id FROM reviews))
         + (SELECT count(*) FROM reviews WHERE id NOT IN (SELECT id FROM reviews_fts_docsize))
         + (SELECT count(*) FROM reviews_fts_docsize WHERE id NOT IN (SELECT id FROM reviews))
         + (SELECT count(*) FROM reviews WHERE source_id NOT IN (SELECT source_id FROM reviews_rows))
         + (SELECT count(*) FROM reviews_rows
            WHERE content_hash <> x'' AND source_id NOT IN (SELECT source_id FROM reviews))
"""
"""Chunks without a vector, full text or a row that they are of, and the reverse, in one statement."""

TORN_DUCKDB = """
    SELECT (SELECT count(*) FROM reviews ANTI JOIN reviews_embedding USING (id))
         + (SELECT count(*) FROM reviews_embedding ANTI JOIN reviews USING (id))
         + (SELECT count(*) FROM reviews ANTI JOIN reviews_rows USING (source_id))
         + (SELECT count(*) FROM reviews_rows AS r ANTI JOIN reviews USING (source_id) WHERE r.content_hash <> '')
"""
"""The same of the tables of a DuckDB database."""


def make(path: Path, rows: int, mode: str) -> None:
    """Make the table and its index."""
    draw = random.Random(1)
    reviews = [(i, i % 5, some_words(draw)) for i in range(1, rows + 1)]
    connection = duckdb.connect(str(path)) if mode == "DuckDB" else sqlite3.connect(path, isolation_level=None)
    if mode != "DuckDB":
        connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, stars INTEGER, body TEXT)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO review VALUES (?, ?, ?)", reviews)
    connection.execute("COMMIT")
    connection.close()
    with sqlrag.connect(path) as db:
        db.create_index("reviews", "review", "body", filters=["stars"])


def questions(ask: Callable[[str, tuple[object, ...]], object], draw: random.Random) -> Iterator[Callable[[], object]]:
    """Yield, for ever, the calls of a reader."""
    while True:
        query = some_words(draw, 3)
        yield lambda q=query: ask("SELECT count(*) FROM vector_top_k('reviews', ?, 25)", (q,))
        yield lambda q=query: ask("SELECT count(*) FROM text_top_k('reviews', ?, 25)", (q,))
        yield lambda q=query: ask("SELECT * FROM search('reviews', ?, 5, 3, 'stars > 1')", (q,))


def opened(path: Path, kind: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Return what runs a statement on a new connection of a kind."""
    if kind in ("apsw", "registered"):
        connection = apsw.Connection(str(path)) if kind == "apsw" else duckdb.connect(str(path))
        if kind == "apsw":
            connection.set_busy_timeout(5_000)  # apsw has none of its own
        sqlrag.register(connection)
        return lambda sql, values=(): connection.execute(sql, values).fetchall()
    db = sqlrag.connect(path, read_only=kind == "read-only")
    return lambda sql, values=(): db.execute(sql, values).fetchall()


def read(path: Path, kind: str, number: int, seconds: float, results: Results, *, ask: Ask | None = None) -> None:
    """Ask for so many seconds; put the milliseconds of each call, what went wrong, and what was torn."""
    warnings.simplefilter("ignore", BacklogWarning)
    ask = ask or opened(path, kind)
    times, errors, torn = [], [], 0
    calls = questions(ask, random.Random(number))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.perf_counter()
        try:
            next(calls)()
            times.append((time.perf_counter() - started) * 1000)
            if len(times) % 10 == 0:
                torn += ask(TORN_DUCKDB if path.suffix == ".duckdb" else TORN)[0][0]
        except Exception as error:  # noqa: BLE001 - counted
            errors.append(f"{kind}: {type(error).__name__}: {error}")
    results.put((kind, times, errors, torn))


def write_plain(path: Path, seconds: float, results: Results) -> None:
    """Write to the table with the standard library, or DuckDB, alone."""
    draw, times, errors = random.Random(7), [], []
    is_duckdb = path.suffix == ".duckdb"
    connection = duckdb.connect(str(path)) if is_duckdb else sqlite3.connect(path, isolation_level=None)
    name = "duckdb writer" if is_duckdb else "sqlite3 writer"
    key, until = 1_000_000, time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.perf_counter()
        try:
            connection.execute("BEGIN")
            one = draw.randrange(1, 2_000)
            connection.execute("UPDATE review SET body = ? WHERE id = ?", (some_words(draw), one))
            connection.execute("UPDATE review SET stars = stars + 1 WHERE id = ?", (one + 1,))
            connection.execute("DELETE FROM review WHERE id = ?", (draw.randrange(1_000_000, key + 1),))
            for _ in range(draw.choice((1, 1, 1, 20))):
                key += 1
                connection.execute("INSERT INTO review VALUES (?, 3, ?)", (key, some_words(draw)))
            # A key that this transaction has not touched yet: DuckDB's unique indexes count a row that it has deleted.
            again = draw.choice([other for other in range(1, 2_000) if other not in (one, one + 1)])
            connection.execute("INSERT OR REPLACE INTO review VALUES (?, 4, ?)", (again, some_words(draw)))
            connection.execute("ROLLBACK" if draw.random() < 0.1 else "COMMIT")
            times.append((time.perf_counter() - started) * 1000)
        except Exception as error:  # noqa: BLE001 - counted
            errors.append(f"{name}: {type(error).__name__}: {error}")
            with suppress(duckdb.Error, sqlite3.Error):
                connection.execute("ROLLBACK")
        time.sleep(0.05)
    connection.close()
    results.put((name, times, errors, 0))


def write_sqlrag(path: Path, seconds: float, results: Results) -> None:
    """Sync, ingest, and make the index anew in the middle."""
    from sqlrag.text.documents import Document

    warnings.simplefilter("ignore", BacklogWarning)
    draw, times, errors, remade = random.Random(8), [], [], False
    started_at, number = time.monotonic(), 0
    with sqlrag.connect(path) as db:
        while time.monotonic() < started_at + seconds:
            started = time.perf_counter()
            try:
                db.sync()
                number += 1
                db.ingest([Document(f"note{number % 20}", "", some_words(draw), {}, str(number))])
                if not remade and time.monotonic() > started_at + seconds / 2:
                    remade = True
                    db.reindex("reviews")
                times.append((time.perf_counter() - started) * 1000)
            except Exception as error:  # noqa: BLE001 - counted
                errors.append(f"sqlrag: {type(error).__name__}: {error}")
            time.sleep(0.05)
    results.put(("sqlrag writer", times, errors, 0))


def intrude(path: Path, seconds: float, results: Results) -> None:
    """Try to open the file from another process; put as an error each time that this was let in."""
    code = (
        "import sys, sqlrag\n"
        "try:\n    sqlrag.connect(sys.argv[1])\nexcept sqlrag.errors.LockedError:\n    sys.exit(0)\nsys.exit(1)"
    )
    times, errors = [], []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.perf_counter()
        ended = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
        times.append((time.perf_counter() - started) * 1000)
        if ended.returncode:
            errors.append(f"another process: {ended.stderr.strip().splitlines()[-1:] or 'was let in'}")
        time.sleep(1.0)
    results.put(("another process, refused", times, errors, 0))


KINDS = {
    "SQLite": ("read-only",) * 3 + ("writable",) * 4 + ("apsw",),
    "DuckDB": ("own Database",) * 2 + ("shared Database",) * 4 + ("registered",) * 2,
}


def run(path: Path, seconds: float, *, writing: bool) -> list[tuple[str, list[float], list[str], int]]:
    """Run the readers, with the writers or without; return what each of them has put."""
    is_duckdb = path.suffix == ".duckdb"
    results: Results = queue.Queue() if is_duckdb else CONTEXT.Queue()
    start = threading.Thread if is_duckdb else CONTEXT.Process
    kinds = KINDS["DuckDB" if is_duckdb else "SQLite"]
    shared = opened(path, "shared Database") if is_duckdb else None
    jobs = [
        (partial(read, ask=shared if kind.startswith("shared") else None), (path, kind, number, seconds, results))
        for number, kind in enumerate(kinds)
    ]
    if writing:
        jobs += [(write_plain, (path, seconds, results)), (write_sqlrag, (path, seconds, results))]
    if is_duckdb:
        jobs.append((intrude, (path, seconds, results)))
    running = [start(target=target, args=arguments) for target, arguments in jobs]
    for one in running:
        one.start()
    found = [results.get(timeout=20 * seconds + 300) for _ in running]
    for one in running:
        one.join()
    return found


def agrees(path: Path) -> list[str]:
    """Return what is wrong after a last sync: findings of check, and rows whose chunk has another text."""
    with sqlrag.connect(path) as db:
        db.sync()
        sql = "SELECT count(*) FROM review LEFT JOIN reviews ON source_id = review.id"
        sql += " WHERE reviews.text IS DISTINCT FROM body"
        ((other,),) = db.execute(sql).fetchall()
        return db.check() + ([f"{other} rows have another text than their chunk"] if other else [])


def percentiles(times: list[float]) -> str:
    """Return p50 and p99."""
    return " / ".join(f"{value:,.0f}" for value in np.percentile(times, (50, 99))) if times else "-"


def order(found: tuple[str, list[float], list[str], int]) -> float:
    """Return the place of a kind in the table: readers as KINDS has them, then the others."""
    kinds = [kind for of_engine in KINDS.values() for kind in of_engine]
    return kinds.index(found[0]) if found[0] in kinds else math.inf


def measured(mode: str, rows: int, seconds: float) -> tuple[list[str], list[str]]:
    """Return the rows of the table for a journal mode, and what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("reviews.duckdb" if mode == "DuckDB" else "reviews.db")
        make(path, rows, mode)
        alone, beside = run(path, seconds / 4, writing=False), run(path, seconds, writing=True)
        wrong = [error for part in (alone, beside) for _, _, errors, _ in part for error in errors]
        torn = sum(count for part in (alone, beside) for *_, count in part)
        wrong += [f"{torn} torn"] if torn else []
        wrong += agrees(path)
    lines = []
    for kind in dict.fromkeys(name for part in (alone, beside) for name, *_ in sorted(part, key=order)):
        times = [[t for name, found, *_ in part if name == kind for t in found] for part in (alone, beside)]
        calls = len(times[1])
        lines.append(f"| {mode} | {kind} | {calls:,} | {percentiles(times[0])} | {percentiles(times[1])} |")
    return lines, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--modes", default="WAL,DELETE,DuckDB")
    parser.add_argument("--write", action="store_true", help="write benchmarks/concurrency.md")
    arguments = parser.parse_args()
    lines = [
        "# Eight readers and two writers on one file",
        "",
        f"`python benchmarks/concurrency.py --seconds {arguments.seconds:.0f}` on {len(os.sched_getaffinity(0))} CPUs "
        f"({platform.machine()}), SQLite {apsw.sqlite_lib_version()}, DuckDB {duckdb.__version__}; {arguments.rows:,} "
        "rows, ten processes (of DuckDB: ten threads of one, and a process that tries to get in), so each waits for a "
        "processor most of the time; milliseconds, p50 / p99. A reader calls `vector_top_k`, `text_top_k` "
        "or `search` with 5 candidates; a turn of the sqlrag writer is a sync, an ingest and once a reindex.",
        "",
        "| journal | who | calls | reads alone | beside the writers |",
        "| --- | --- | --- | --- | --- |",
    ]
    verdicts = []
    for mode in arguments.modes.split(","):
        found, wrong = measured(mode, arguments.rows, arguments.seconds)
        lines += found
        said = "; ".join(f"{wrong.count(one)} times {one}" for one in dict.fromkeys(wrong)) or "no error, no torn read"
        verdicts.append(
            f"{mode}: {said}; after the last sync every chunk has its row's text." if not wrong else f"{mode}: {said}."
        )
    report = "\n".join([*lines, "", *verdicts]) + "\n"
    print(report)
    if arguments.write:
        (Path(__file__).parent / "concurrency.md").write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
