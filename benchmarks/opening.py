"""What opening a DuckDB database costs, beside DuckDB's own, and what a thousand connections leave.

    python benchmarks/opening.py [--times 40] [--connections 1000] [--write]

The file has an index over a table of 200 rows and was last written more than two seconds ago. Each figure is the median
of the processor's time of the whole process, threads included, which other programs on the machine hardly change; all
are taken in turn, so that whatever changes meanwhile meets all of them. DuckDB gives a further connection of a process
to an open file without opening it, in some microseconds.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

import sqlrag

INTERNAL = "SELECT count(*) FROM duckdb_functions() WHERE starts_with(function_name, '_sqlrag')"
SETTLED = 2.5
"""Seconds after which files tell that nothing was committed."""


def make(path: str) -> None:
    """Make the table and its index."""
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body VARCHAR)")
        db.execute("INSERT INTO note SELECT i, 'kettle number ' || i FROM range(200) AS t (i)").fetchall()
        db.create_index("notes", "note", "body")
    time.sleep(SETTLED)


def openings(path: str) -> dict[str, Callable[[], None]]:
    """Return what is measured, by what it is called."""

    def duckdb_statement() -> None:
        with duckdb.connect(path) as connection:
            connection.execute("SELECT 1").fetchall()

    def sqlrag_statement() -> None:
        with sqlrag.connect(path) as db:
            db.execute("SELECT 1").fetchall()

    return {
        "DuckDB: open, close": lambda: duckdb.connect(path).close(),
        "sqlrag: open, close": lambda: sqlrag.connect(path).close(),
        "DuckDB: open, SELECT 1, close": duckdb_statement,
        "sqlrag: open, SELECT 1, close": sqlrag_statement,
    }


def processor_ms(calls: dict[str, Callable[[], None]], times: int) -> dict[str, float]:
    """Return the median of the processor's milliseconds of each call."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(times):
        for name, call in calls.items():
            began = time.process_time()
            call()
            found[name].append(time.process_time() - began)
    return {name: statistics.median(values) * 1_000 for name, values in found.items()}


def left(beside: duckdb.DuckDBPyConnection) -> tuple[int, int, int, float]:
    """Return the functions in the instance, the threads and descriptors of the process, and its memory in MB."""
    gc.collect()
    functions = beside.execute(INTERNAL).fetchall()[0][0]
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return functions, threading.active_count(), len(os.listdir("/proc/self/fd")), memory


def measured(path: str, times: int, connections: int) -> list[str]:
    """Return the lines of the table."""
    calls = openings(path)
    processor_ms(calls, 3)
    alone = processor_ms(calls, times)
    lines = ["| | ms of the processor | of DuckDB's |", "| --- | ---: | ---: |"]
    for name, value in alone.items():
        base = alone[name.replace("sqlrag", "DuckDB")]
        lines.append(f"| {name} | {value:.1f} | {value / base:.2f} |")
    with sqlrag.connect(path) as db:
        db.execute("SELECT 1").fetchall()
        base = alone["DuckDB: open, close"]
        for name, value in processor_ms(calls, times).items():
            if name.startswith("sqlrag"):
                lines.append(f"| {name}, while another connection is open | {value:.1f} | {value / base:.2f} |")
    lines += ["", "| after so many connections | functions | threads | descriptors | MB |"]
    lines.append("| ---: | ---: | ---: | ---: | ---: |")
    with duckdb.connect(path) as beside:
        done = 0
        for count in (10, connections // 2, connections):
            for _ in range(count - done):
                calls["sqlrag: open, SELECT 1, close"]()
            done = count
            functions, threads, descriptors, memory = left(beside)
            lines.append(f"| {count:,} | {functions} | {threads} | {descriptors} | {memory:.1f} |")
    return lines


def main() -> None:
    """Measure, and print or write opening.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--write", action="store_true", help="write opening.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "notes.duckdb")
        make(path)
        lines = measured(path, given.times, given.connections)
    machine = f"DuckDB {duckdb.__version__}, Python {platform.python_version()}, {os.cpu_count()} CPUs."
    text = "\n".join(["# Opening a DuckDB database", "", f"`python benchmarks/opening.py`. {machine}", "", *lines, ""])
    print(text)
    if given.write:
        Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
