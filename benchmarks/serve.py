"""`sqlrag serve`: what a cold `sqlrag search` costs, a warm statement, and sixteen clients at once.

    python benchmarks/serve.py [--seconds 60] [--write]

Cold: whole processes of `sqlrag search`, one after the other, with a server and without. A question that was asked
before has its scores remembered by the server: what is left is all but the reranking. Warm: the same `search` of 25
candidates in one process, by models of its own and through the server, new questions each time, in turn.

At once: sixteen processes, each a client with one of four databases. Fifteen ask for 10 candidates, one greedy one for
100; beside `search` they call `hybrid_top_k`, `embed` and `token_count`. Every text of a database has its mark, which
each hit is looked at for, and a twentieth of the answers is computed again afterwards, in this process, to the last
bit. Fair: the fewest and the most calls of the fifteen. The server's memory is read twelve times.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import sqlrag
from sqlrag.serve.model_server.client import Client
from sqlrag.serve.model_server.served_database import connect_served

THINGS = [
    *("kettle", "lamp", "desk", "whistle", "ferry", "comet", "garden", "river", "bread", "winter", "engine", "paper"),
    *("glass", "window", "music", "storm", "market", "harbour", "teacher", "forest", "bridge", "silver", "letter"),
]
CONTEXT = multiprocessing.get_context("spawn")
CLIENTS = 16
SQL = "SELECT * FROM search('chunks', ?, ?, 3)"


def words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(THINGS, k=count))


def make(path: Path, mark: str) -> None:
    """Make a database of 400 texts of some 100 tokens, each with a mark."""
    draw = random.Random(mark)
    source = path.with_suffix(".jsonl")
    with source.open("w") as file:
        for number in range(400):
            text = f"{mark} {number}: {words(draw, 80)}."
            file.write(json.dumps({"id": f"{mark}{number}", "text": text}) + "\n")
    with sqlrag.connect(path) as db:
        db.ingest(source)


def cold(database: Path, socket: str, draw: random.Random) -> list[str]:
    """Return rows of the first table."""
    environment = os.environ | {"SQLRAG_SOCKET": socket}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def process(what: str, arguments: Callable[[], list[str]], place: str = socket) -> str:
        times, used = [], []
        for _ in range(12):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, *arguments()]
            times.append(
                _timed(
                    lambda command=command: subprocess.run(
                        command, check=True, capture_output=True, env=environment | {"SQLRAG_SOCKET": place}
                    )
                )
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return f"| {what} | {statistics.median(times[1:]) * 1000:,.0f} | {statistics.median(used[1:]) * 1000:,.0f} |"

    def search(question: str) -> list[str]:
        return ["-m", "sqlrag", "search", str(database), question]

    asked = words(draw, 6)
    return [
        process("`python -c ''`", lambda: ["-c", ""]),
        process("`sqlrag search`, asked before: all but the reranking", lambda: search(asked)),
        process("`sqlrag search`, a new question", lambda: search(words(draw, 6))),
        process("`sqlrag search` without a server", lambda: search(words(draw, 6)), f"{socket}.none"),
    ]


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def warm(database: Path, draw: random.Random) -> list[str]:
    """Return rows of the second table."""
    with sqlrag.connect(database, read_only=True) as own, connect_served(str(database)) as served:
        times: dict[str, list[float]] = {"own": [], "served": []}
        for number in range(42):
            for name, db in (("own", own), ("served", served)):
                question = (words(draw, 6), 25)
                took = _timed(lambda db=db, question=question: db.execute(SQL, question).fetchall())
                if number >= 2:
                    times[name].append(took * 1000)
    own_ms, served_ms = (statistics.median(times[name]) for name in ("own", "served"))
    return [
        f"| models of its own | {own_ms:,.1f} | |",
        f"| through the server | {served_ms:,.1f} | {served_ms / own_ms - 1:+.1%} |",
    ]


def ask(path: str, mark: str, number: int, seconds: float, *, ready: object, results: multiprocessing.Queue) -> None:
    """Ask for so many seconds; put the milliseconds of each call, answers to look at again, and what went wrong."""
    draw = random.Random(1000 + number)
    top_k = 100 if number == 0 else 10
    times: dict[str, list[float]] = {}
    sample, errors, foreign = [], [], 0
    with connect_served(path) as db:
        if type(db._engine.encoders).__name__ != "RemoteEncoders":  # noqa: SLF001 - it would measure the wrong thing
            errors.append("no server")
        statements = {
            "search": (SQL, lambda: (words(draw, 5), top_k)),
            "hybrid_top_k": (
                "SELECT h.*, c.text FROM hybrid_top_k('chunks', ?, 10) h JOIN chunks c USING (id)",
                lambda: (words(draw, 3),),
            ),
            "embed": ("SELECT embed(?)", lambda: (words(draw, 8),)),
            "token_count": ("SELECT token_count(?)", lambda: (words(draw, 50),)),
        }
        ready.wait()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for name, (sql, values) in statements.items():
                given = values()
                started = time.perf_counter()
                try:
                    rows = db.execute(sql, given).fetchall()
                except Exception as error:  # noqa: BLE001 - counted
                    errors.append(f"{name}: {type(error).__name__}: {error}")
                    continue
                times.setdefault(name, []).append((time.perf_counter() - started) * 1000)
                texts = [value for row in rows for value in row if isinstance(value, str)]
                foreign += sum(not text.startswith(mark) for text in texts)
                if draw.random() < 0.05:
                    sample.append((sql, given, rows))
        if not db._engine.encoders.models.is_connected:  # noqa: SLF001 - models of its own have answered
            errors.append("the server broke off")
    results.put((number, times, sample, errors, foreign))


def at_once(databases: dict[str, Path], socket: Path, seconds: float) -> tuple[list[str], list[str]]:
    """Return rows of the third table, and sentences about it."""
    results, ready = CONTEXT.Queue(), CONTEXT.Barrier(CLIENTS + 1)
    marks = list(databases)
    processes = [
        CONTEXT.Process(
            target=ask,
            args=(str(databases[marks[n % 4]]), marks[n % 4], n, seconds),
            kwargs={"ready": ready, "results": results},
            daemon=True,
        )
        for n in range(CLIENTS)
    ]
    for process in processes:
        process.start()
    ready.wait()
    memory = []
    for _ in range(12):
        time.sleep(seconds / 12)
        client = Client(socket, "benchmark")
        memory.append(client.status()["rss_bytes"] / 2**20)
        client.close()
    found = [results.get(timeout=300) for _ in processes]
    errors = [error for *_, errors, _ in found for error in errors]
    foreign = sum(count for *_, count in found)
    differs, looked_at = 0, 0
    for number, _, sample, *_ in found:
        with sqlrag.connect(databases[marks[number % 4]], read_only=True) as db:
            for sql, given, rows in sample:
                looked_at += 1
                differs += db.execute(sql, given).fetchall() != rows
    lines = []
    for name in ("search", "hybrid_top_k", "embed", "token_count"):
        times = [t for number, calls, *_ in found if number for t in calls[name]]
        p50, p99 = np.percentile(times, (50, 99))
        lines.append(f"| {name} | {len(times):,} | {p50:,.0f} | {p99:,.0f} |")
    times = next(calls["search"] for number, calls, *_ in found if not number)
    p50, p99 = np.percentile(times, (50, 99))
    lines.append(f"| search, the greedy one | {len(times):,} | {p50:,.0f} | {p99:,.0f} |")
    counts = sorted(len(calls["search"]) for number, calls, *_ in found if number)
    pairs = len(times) * 100, statistics.median(counts) * 10
    said = "; ".join(f"{errors.count(one)} times {one}" for one in dict.fromkeys(errors)) or "none"
    sentences = [
        f"Errors: {said}. Texts of another client's database: {foreign}. Of {looked_at:,} answers computed again, "
        f"{differs} differ.",
        f"Fair: the fifteen have made {counts[0]} to {counts[-1]} searches each; the greedy one had {pairs[0]:,} pairs "
        f"scored, each of the others {pairs[1]:,.0f} (median).",
        f"The server's memory, MiB: {', '.join(f'{mib:.0f}' for mib in memory)}.",
    ]
    return lines, sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--write", action="store_true", help="write benchmarks/serve.md")
    arguments = parser.parse_args()
    draw = random.Random(time.time())
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        databases = {mark: Path(folder, f"{mark}.db") for mark in ("Alpha", "Beta", "Gamma", "Delta")}
        for mark, path in databases.items():
            make(path, mark)
        socket = Path(folder, "s.sock")
        os.environ["SQLRAG_SOCKET"] = str(socket)
        command = [sys.executable, "-m", "sqlrag", "serve", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            try:
                server.stdout.readline()
                cold_rows = cold(databases["Alpha"], str(socket), draw)
                warm_rows = warm(databases["Alpha"], draw)
                load_rows, sentences = at_once(databases, socket, arguments.seconds)
            finally:
                server.terminate()
    load = os.getloadavg()[0]
    lines = [
        "# One process that holds the models",
        "",
        f"`python benchmarks/serve.py --seconds {arguments.seconds:.0f}` on {len(os.sched_getaffinity(0))} CPUs "
        f"({platform.machine()}), Python {platform.python_version()}; load of the machine at the end {load:.0f}. "
        "Milliseconds; medians of 11 processes, of 40 statements.",
        "",
        "| a cold process | ms | of a processor |",
        "| --- | --- | --- |",
        *cold_rows,
        "",
        "| `search` of 25 candidates, warm | ms | |",
        "| --- | --- | --- |",
        *warm_rows,
        "",
        f"Sixteen clients for {arguments.seconds:.0f} s, so each waits for a processor most of the time:",
        "",
        "| | calls | p50 | p99 |",
        "| --- | --- | --- | --- |",
        *load_rows,
        "",
        *sentences,
    ]
    report = "\n".join(lines) + "\n"
    print(report)
    if arguments.write:
        (Path(__file__).parent / "serve.md").write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
