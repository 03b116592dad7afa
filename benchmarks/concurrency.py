"""Eight processes that read and two that write, at once, on one SQLite file: errors, torn reads, latency.

    python benchmarks/concurrency.py [--seconds 180] [--rows 2000] [--write]

The table `review` has an index over it. Three readers are open read-only, four for writing (they bring in a small
backlog before each query), one is plain apsw with `sqlrag.register`. One writer is the standard library's sqlite3, with
its default time-out of 5 s: single-row and bulk transactions, inserts, updates, deletes, upserts, some
rolled back. The other one syncs and ingests; in the middle of the time it makes the index anew. Each reader also looks,
in one statement, for chunks without a vector or without full text and the reverse. What is counted as an error is
whatever reaches a caller. Reads are timed first with nobody writing, then beside the writers; in WAL mode and in
SQLite's default, a rollback journal (DELETE).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import random
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import numpy as np
from short_texts import some_words

import sqlrag
from sqlrag.errors import BacklogWarning

CONTEXT = multiprocessing.get_context("spawn")

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


def make(path: Path, rows: int, mode: str) -> None:
    """Make the table and its index."""
    draw = random.Random(1)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, stars INTEGER, body TEXT)")
        connection.executemany(
            "INSERT INTO review VALUES (?, ?, ?)", ((i, i % 5, some_words(draw)) for i in range(1, rows + 1))
        )
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


def read(path: Path, kind: str, number: int, seconds: float, results: multiprocessing.Queue) -> None:
    """Ask for so many seconds; put the milliseconds of each call, what went wrong, and what was torn."""
    warnings.simplefilter("ignore", BacklogWarning)
    if kind == "apsw":
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(5_000)  # apsw has none of its own
        sqlrag.register(connection)
        ask = lambda sql, values=(): connection.execute(sql, values).fetchall()  # noqa: E731
    else:
        db = sqlrag.connect(path, read_only=kind == "read-only")
        ask = lambda sql, values=(): db.execute(sql, values).fetchall()  # noqa: E731
    times, errors, torn = [], [], 0
    calls = questions(ask, random.Random(number))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.perf_counter()
        try:
            next(calls)()
            times.append((time.perf_counter() - started) * 1000)
            if len(times) % 10 == 0:
                torn += ask(TORN)[0][0]
        except Exception as error:  # noqa: BLE001 - counted
            errors.append(f"{kind}: {type(error).__name__}: {error}")
    results.put((kind, times, errors, torn))


def write_plain(path: Path, seconds: float, results: multiprocessing.Queue) -> None:
    """Write to the table with the standard library alone."""
    draw, times, errors = random.Random(7), [], []
    connection = sqlite3.connect(path)
    key, until = 1_000_000, time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.perf_counter()
        try:
            with connection:
                one = draw.randrange(1, 2_000)
                connection.execute("UPDATE review SET body = ? WHERE id = ?", (some_words(draw), one))
                connection.execute("UPDATE review SET stars = stars + 1 WHERE id = ?", (one + 1,))
                connection.execute("DELETE FROM review WHERE id = ?", (draw.randrange(1_000_000, key + 1),))
                for _ in range(draw.choice((1, 1, 1, 20))):
                    key += 1
                    connection.execute("INSERT INTO review VALUES (?, 3, ?)", (key, some_words(draw)))
                connection.execute(
                    "INSERT OR REPLACE INTO review VALUES (?, 4, ?)", (draw.randrange(1, 2_000), some_words(draw))
                )
                if draw.random() < 0.1:
                    connection.rollback()
            times.append((time.perf_counter() - started) * 1000)
        except Exception as error:  # noqa: BLE001 - counted
            errors.append(f"sqlite3: {type(error).__name__}: {error}")
        time.sleep(0.05)
    connection.close()
    results.put(("sqlite3 writer", times, errors, 0))


def write_sqlrag(path: Path, seconds: float, results: multiprocessing.Queue) -> None:
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


KINDS = ("read-only",) * 3 + ("writable",) * 4 + ("apsw",)


def run(path: Path, seconds: float, *, writing: bool) -> list[tuple[str, list[float], list[str], int]]:
    """Run the readers, with the writers or without; return what each of them has put."""
    results = CONTEXT.Queue()
    jobs = [(read, (path, kind, number, seconds, results)) for number, kind in enumerate(KINDS)]
    if writing:
        jobs += [(write_plain, (path, seconds, results)), (write_sqlrag, (path, seconds, results))]
    processes = [CONTEXT.Process(target=target, args=arguments) for target, arguments in jobs]
    for process in processes:
        process.start()
    found = [results.get(timeout=20 * seconds + 300) for _ in processes]
    for process in processes:
        process.join()
    return found


def agrees(path: Path) -> list[str]:
    """Return what is wrong after a last sync: findings of check, and rows whose chunk has another text."""
    with sqlrag.connect(path) as db:
        db.sync()
        sql = "SELECT count(*) FROM review LEFT JOIN reviews ON source_id = review.id WHERE reviews.text IS NOT body"
        ((other,),) = db.execute(sql).fetchall()
        return db.check() + ([f"{other} rows have another text than their chunk"] if other else [])


def percentiles(times: list[float]) -> str:
    """Return p50 and p99."""
    return " / ".join(f"{value:,.0f}" for value in np.percentile(times, (50, 99))) if times else "-"


def measured(mode: str, rows: int, seconds: float) -> tuple[list[str], list[str]]:
    """Return the rows of the table for a journal mode, and what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.db"
        make(path, rows, mode)
        alone, beside = run(path, seconds / 4, writing=False), run(path, seconds, writing=True)
        wrong = [error for part in (alone, beside) for _, _, errors, _ in part for error in errors]
        torn = sum(count for part in (alone, beside) for *_, count in part)
        wrong += [f"{torn} torn"] if torn else []
        wrong += agrees(path)
    lines = []
    for kind in dict.fromkeys((*KINDS, "sqlite3 writer", "sqlrag writer")):
        times = [[t for name, found, *_ in part if name == kind for t in found] for part in (alone, beside)]
        calls = len(times[1])
        lines.append(f"| {mode} | {kind} | {calls:,} | {percentiles(times[0])} | {percentiles(times[1])} |")
    return lines, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--write", action="store_true", help="write benchmarks/concurrency.md")
    arguments = parser.parse_args()
    lines = [
        "# Eight readers and two writers on one SQLite file",
        "",
        f"`python benchmarks/concurrency.py --seconds {arguments.seconds:.0f}` on {len(os.sched_getaffinity(0))} CPUs "
        f"({platform.machine()}), SQLite {apsw.sqlite_lib_version()}; {arguments.rows:,} rows, ten processes, so each "
        "waits for a processor most of the time; milliseconds, p50 / p99. A reader calls `vector_top_k`, `text_top_k` "
        "or `search` with 5 candidates; a turn of the sqlrag writer is a sync, an ingest and once a reindex.",
        "",
        "| journal | process | calls | reads alone | beside the writers |",
        "| --- | --- | --- | --- | --- |",
    ]
    verdicts = []
    for mode in ("WAL", "DELETE"):
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
