"""Sixteen clients of `sqlrag serve DB --postgres` at once, and one alone against in-process Python.

    python benchmarks/postgres.py [--seconds 60] [--clients 16] [--write]

On the passages of the tests. Each client is a thread with a psycopg connection of its own that asks the two-stage
statement, one question after the other, from a list whose answers are known: another client's answer would be noticed.
Each question is asked by many, so models remember most of them: what is measured is the server, not the models. Then,
alone and in turns, the same questions that nobody has asked before go to the server and to a process of its own that
has the database open; both have their models loaded. The server's resident memory is read each second.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
import psycopg
from statement import STATEMENT

import sqlrag
from sqlrag.cli.serve_database import PASSWORD

PASSAGES = Path(__file__).parents[1] / "tests" / "passages.jsonl"
THINGS = ("bees", "bread", "the moon", "a ferry", "leaves", "glass", "swallows", "a kettle")
QUESTIONS = [f"why do {thing} {verb}?" for thing in THINGS for verb in ("dance", "rise", "turn", "shine")]
SECRET = "only-for-this-benchmark"


def serve(path: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server; return it and its URL."""
    command = [sys.executable, "-m", "sqlrag", "serve", path, "--postgres", "--port", "0", "--time-limit", "60"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env={**os.environ, PASSWORD: SECRET})
    return server, server.stdout.readline().removeprefix("url: ").strip()


def memory(server: subprocess.Popen[str]) -> float:
    """Return the server's resident memory in MB."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def load(server, url: str, clients: int, seconds: float, answers: dict[str, list[int]]) -> dict[str, object]:
    """Ask from so many clients for so many seconds; return times, errors, wrong answers and memory."""
    times: list[list[float]] = [[] for _ in range(clients)]
    errors: list[str] = []
    wrong: list[str] = []
    until = time.monotonic() + seconds

    def ask(number: int) -> None:
        draw = random.Random(number)
        try:
            with psycopg.connect(url, password=SECRET, autocommit=True) as client:
                while time.monotonic() < until:
                    question = draw.choice(QUESTIONS)
                    started = time.perf_counter()
                    rows = client.execute(STATEMENT.replace(":q", "%(q)s"), {"q": question}).fetchall()
                    times[number].append((time.perf_counter() - started) * 1000)
                    if [row[0] for row in rows] != answers[question]:
                        wrong.append(question)
        except psycopg.Error as error:
            errors.append(str(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    memories = []
    while time.monotonic() < until:
        time.sleep(1)
        memories.append(memory(server))
    for thread in threads:
        thread.join()
    return {"times": times, "errors": errors, "wrong": wrong, "memory": memories}


def in_process(path: str, pipe) -> None:
    """Answer questions with the milliseconds that each took, in a process of its own."""
    with sqlrag.connect(path, read_only=True) as db:
        while (question := pipe.recv()) is not None:
            started = time.perf_counter()
            db.execute(STATEMENT, {"q": question}).fetchall()
            pipe.send((time.perf_counter() - started) * 1000)


def latency(path: str, url: str, rounds: int) -> tuple[float, float]:
    """Return the median milliseconds in process and through the server, of questions asked for the first time."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=in_process, args=(path, there))
    process.start()
    inside, outside = [], []
    with psycopg.connect(url, password=SECRET, autocommit=True) as client:
        for number in range(rounds + 3):
            question = f"{QUESTIONS[number % len(QUESTIONS)]} ({number})"

            def through_server(question: str = question) -> float:
                started = time.perf_counter()
                client.execute(STATEMENT.replace(":q", "%(q)s"), {"q": question}).fetchall()
                return (time.perf_counter() - started) * 1000

            def directly(question: str = question) -> float:
                here.send(question)
                return here.recv()

            # In turns, and each first as often as second.
            both = {}
            for ask in (through_server, directly) if number % 2 else (directly, through_server):
                both[ask] = ask()
            if number >= 3:  # the first ones load the models
                inside.append(both[directly])
                outside.append(both[through_server])
    here.send(None)
    process.join()
    return median(inside), median(outside)


def measured(engine: str, clients: int, seconds: float, rounds: int) -> str:
    """Return the row of an engine."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / f"passages.{'duckdb' if engine == 'duckdb' else 'db'}")
        with sqlrag.connect(path) as db:
            db.ingest(PASSAGES)
            sql = STATEMENT
            answers = {q: [row[0] for row in db.execute(sql, {"q": q}).fetchall()] for q in QUESTIONS}
        server, url = serve(path)
        try:
            inside, outside = latency(path, url, rounds)
            found = load(server, url, clients, seconds, answers)
        finally:
            server.kill()
            server.wait()
    counts = [len(times) for times in found["times"]]
    every = [value for times in found["times"] for value in times]
    p50, p99 = np.percentile(every, (50, 99))
    quarter = max(len(found["memory"]) // 4, 1)
    memories = f"{max(found['memory'][:quarter]):.0f} → {max(found['memory'][-quarter:]):.0f}"
    bad = f"{len(found['errors'])} | {len(found['wrong'])}"
    return (
        f"| {engine} | {sum(counts):,} | {bad} | {min(counts)} to {max(counts)} | "
        f"{p50:.0f} / {p99:.0f} | {memories} | {inside:.1f} | {outside:.1f} | {outside / inside - 1:+.1%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=60, help="questions of the comparison with Python")
    parser.add_argument("--write", action="store_true", help="write benchmarks/postgres.md")
    arguments = parser.parse_args()
    rows = [measured(engine, arguments.clients, arguments.seconds, arguments.rounds) for engine in ("sqlite", "duckdb")]
    lines = [
        f"# {arguments.clients} clients of PostgreSQL at once",
        "",
        f"`python benchmarks/postgres.py --seconds {arguments.seconds:.0f}` on {len(os.sched_getaffinity(0))} CPUs "
        f"({platform.machine()}), psycopg {psycopg.__version__}; 25 passages, all of them candidates. Milliseconds; "
        "memory in MB, the most of the first and the last quarter of the time. The last three columns: one client, "
        f"medians of {arguments.rounds} new questions, in turns with a Python process that has the database open.",
        "",
        "| engine | statements | errors | wrong answers | of a client | p50 / p99 | server's memory | in process | "
        "psycopg | more |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
    ]
    report = "\n".join(lines) + "\n"
    print(report)
    if arguments.write:
        (Path(__file__).parent / "postgres.md").write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
