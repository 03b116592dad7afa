"""What an index over a table costs: making it, the triggers, bringing it up to date, comparing, making it anew.

    python benchmarks/live.py [--rows 100000] [--engines sqlite,duckdb] [--write]

The table `review (id, stars, body)` has short texts (eight words and a number). Its writer is the standard library's
sqlite3, which knows nothing of sqlrag: each kind of write is timed on the table alone and on the table with an index,
whose triggers fill the queue, both in WAL mode, the best of three: in bulk (one transaction) by the processor's time,
so that other jobs of the machine are not counted, a transaction each by the clock, which is the disk's. Embedding's
share is what the bare encoder takes for as many of the same texts, in batches of 256. Peak memory is that of the
process of each step. The index is made anew over a quarter of the rows. DuckDB has no triggers, so the
first table is SQLite's alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import random
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from short_texts import some_words

import sqlrag

CONTEXT = multiprocessing.get_context("spawn")
CREATE = "CREATE TABLE review (id INTEGER PRIMARY KEY, stars INTEGER, body TEXT)"
SINGLE = 1_000
"""Transactions of one row each."""

REINDEXED = 4
"""One row in so many is left when the index is made anew: that takes as long as making it did."""


def texts(rows: int) -> list[tuple[int, int, str]]:
    """Return rows of the table."""
    draw = random.Random(1)
    return [(i, i % 5, f"{some_words(draw)} {i}") for i in range(1, rows + 1)]


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return (seconds, result) of a call."""
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


# The triggers, as a plain client meets them


def writes(path: Path, rows: list[tuple[int, int, str]], index: bool) -> dict[str, tuple[float, int]]:
    """Return seconds and rows of each kind of write."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(CREATE)
    if index:
        with sqlrag.connect(path) as db:  # not beside sqlite3: two SQLite libraries damage a file
            db.create_index("reviews", "review", "body")
    connection = sqlite3.connect(path)
    found = {}

    def transactions(sql: str, values: list[tuple[Any, ...]], each: int) -> None:
        for start in range(0, len(values), each):
            with connection:
                connection.executemany(sql, values[start : start + each])

    def measure(what: str, sql: str, values: list[tuple[Any, ...]], each: int) -> None:
        before = time.process_time()
        seconds, _ = timed(transactions, sql, values, each)
        found[what] = (time.process_time() - before if each > 1 else seconds, len(values))

    count, insert = len(rows), "INSERT INTO review VALUES (?, ?, ?)"
    single = [(count + i, 1, body) for i, _, body in rows[:SINGLE]]
    bodies, stars = (
        "UPDATE review SET body = body || '!' WHERE id = ?",
        "UPDATE review SET stars = stars + 1 WHERE id = ?",
    )
    delete, keys = "DELETE FROM review WHERE id = ?", [(i,) for i, *_ in rows]
    measure("INSERT, in bulk", insert, rows, count)
    measure("INSERT, a transaction each", insert, single, 1)
    measure("UPDATE of the text, in bulk", bodies, keys, count)
    measure("UPDATE of the text, a transaction each", bodies, keys[:SINGLE], 1)
    measure("UPDATE of another column, in bulk", stars, keys, count)
    measure("UPDATE of another column, a transaction each", stars, keys[:SINGLE], 1)
    measure("DELETE, a transaction each", delete, keys[:SINGLE], 1)
    measure("DELETE, in bulk", delete, keys[SINGLE:], count)
    connection.close()
    return found


def triggers(rows: list[tuple[int, int, str]]) -> list[str]:
    """Return the lines of the table of writes, the best of three."""
    best: dict[tuple[str, bool], float] = {}
    for attempt in range(3):
        with tempfile.TemporaryDirectory() as folder:
            for index in (False, True):
                for what, (seconds, count) in writes(Path(folder) / f"{attempt}{index}.db", rows, index).items():
                    each = seconds / count * 1e6
                    best[what, index] = min(each, best.get((what, index), each))
    return [
        f"| {what} | {best[what, False]:,.2f} | {best[what, True]:,.2f} | "
        f"{best[what, True] - best[what, False]:,.2f} | {best[what, True] / best[what, False]:.2f} |"
        for what, index in best
        if not index
    ]


# The index


def create(path: Path, rows: list[tuple[int, int, str]]) -> dict[str, float]:
    with sqlrag.connect(path) as db:
        db.execute(CREATE).fetchall()
        if db.engine == "sqlite":
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            db.execute("BEGIN").fetchall()
            for row in rows:
                db.execute("INSERT INTO review VALUES (?, ?, ?)", row).fetchall()
            db.execute("COMMIT").fetchall()
        else:
            columns = [list(column) for column in zip(*rows, strict=True)]
            sql = "INSERT INTO review SELECT unnest(?::INTEGER[]), unnest(?::INTEGER[]), unnest(?::VARCHAR[])"
            db.execute(sql, columns).fetchall()
        sample = [body + "." for *_, body in rows[:2560]]
        db.embedder.encode_document(sample[:64])
        bare = sum(timed(db.embedder.encode_document, sample[at : at + 256])[0] for at in range(0, len(sample), 256))
        seconds, _ = timed(lambda: db.create_index("reviews", "review", "body"))
        return {"seconds": seconds, "bare": bare / len(sample) * len(rows)}


def sync(path: Path, changed: int) -> dict[str, float]:
    with sqlrag.connect(path) as db:
        sql = f"UPDATE review SET body = body || ' again' WHERE id <= {changed}"
        db.execute(sql).fetchall()
        embedder = db.embedder
        texts = [body for (body,) in db.execute(f"SELECT body || '!' FROM review WHERE id <= {changed}").fetchall()]
        bare, _ = timed(lambda: [embedder.encode_document(texts[at : at + 256]) for at in range(0, changed, 256)])
        seconds, report = timed(db.sync)
        assert report.changed == changed
        db.execute("UPDATE review SET stars = stars + 1").fetchall()
        nothing, report = timed(db.sync)
        assert report.changed == 0
        return {"seconds": seconds, "bare": bare, "nothing": nothing}


def compare(path: Path) -> dict[str, float]:
    with sqlrag.connect(path) as db:
        seconds, report = timed(lambda: db.sync(compare=True))
        assert report.changed + report.added + report.removed == 0
        return {"seconds": seconds}


def reindex(path: Path) -> dict[str, float]:
    with sqlrag.connect(path) as db:
        db.execute(f"DELETE FROM review WHERE id % {REINDEXED} > 0").fetchall()
        db.sync()
        engine, held = db._engine, []  # noqa: SLF001 - how long the one transaction is
        switch = engine.switch

        def watched(*records: Any) -> None:
            held.append(timed(switch, *records)[0])

        engine.switch = watched
        seconds, _ = timed(db.reindex)
        return {"seconds": seconds, "switch": held[-1], "rows": len(db.execute("SELECT id FROM review").fetchall())}


def _in_process(results: Any, function: Callable[..., dict[str, float]], arguments: tuple[Any, ...]) -> None:
    found = function(*arguments)
    results.put(found | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


def alone(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Run a step in a process of its own."""
    results = CONTEXT.Queue()
    process = CONTEXT.Process(target=_in_process, args=(results, function, arguments))
    process.start()
    found = results.get()
    process.join()
    return found


def index_of(engine: str, rows: list[tuple[int, int, str]], changed: int) -> Iterator[str]:
    """Yield the lines of the table of steps, as they are done."""
    count = len(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"reviews.{'duckdb' if engine == 'duckdb' else 'db'}"
        done = alone(create, path, rows)
        share = done["bare"] / done["seconds"]
        yield (
            f"| {engine} | create_index of {count:,} rows | {done['seconds']:.1f} s, "
            f"{count / done['seconds']:,.0f} rows/s, the bare encoder {share:.0%} of it | {done['peak']:,.0f} |"
        )
        done = alone(sync, path, changed)
        each, bare = (done[part] / changed * 1e6 for part in ("seconds", "bare"))
        yield (
            f"| {engine} | sync of {changed:,} changed texts | {each:,.0f} µs a row, "
            f"{each - bare:,.0f} beside the bare encoder | {done['peak']:,.0f} |"
        )
        yield f"| {engine} | sync after {count:,} rows changed elsewhere | {done['nothing'] * 1000:,.1f} ms | |"
        done = alone(compare, path)
        yield (
            f"| {engine} | sync(compare=True) of {count:,} rows | {done['seconds'] * 1000:,.0f} ms | "
            f"{done['peak']:,.0f} |"
        )
        done = alone(reindex, path)
        yield (
            f"| {engine} | reindex of {done['rows']:,.0f} rows | {done['seconds']:.1f} s, "
            f"others wait for {done['switch']:.2f} s of it | {done['peak']:,.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--changed", type=int, default=1_000, help="texts that are changed before sync")
    parser.add_argument("--engines", default="sqlite,duckdb")
    parser.add_argument("--write", action="store_true", help="write benchmarks/live.md")
    arguments = parser.parse_args()
    rows = texts(arguments.rows)
    lines = [
        "# An index over a table of one's own",
        "",
        f"`python benchmarks/live.py` on {len(os.sched_getaffinity(0))} CPUs ({platform.machine()}), load "
        f"{os.getloadavg()[0]:.1f} at its start, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}; "
        f"{arguments.rows:,} rows.",
        "",
        "What the triggers add to the writes of a plain `sqlite3` client, µs a row, the best of three (in bulk: of the "
        "processor):",
        "",
        "| write | without an index | with | more | times |",
        "| --- | --- | --- | --- | --- |",
        *triggers(rows),
        "",
        "The index itself:",
        "",
        "| engine | step | | peak memory, MB |",
        "| --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    for engine in arguments.engines.split(","):
        for line in index_of(engine, rows, arguments.changed):
            lines.append(line)
            print(line, flush=True)
    if arguments.write:
        (Path(__file__).parent / "live.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
