"""Where the time of the two-stage statement goes: embed, index, rerank, and the rest, which is ours to keep small.

    python benchmarks/statement.py [--chunks 10000] [--write]

On the docstrings of the standard library (`sqlrag demo`'s documents). Each question is asked once, cold: nothing is
remembered of it. The three parts are timed where the statement calls them: the query's vector, the vec0 statement, the
cross-encoder on the 25 pairs. So what else the machine does while a question runs falls on all of them alike. The rest
is the whole minus the three; medians over the questions. Cold start is a new process that asks one question.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from unittest.mock import patch

import sqlrag
from sqlrag.cli.standard_library import harvest
from sqlrag.store.top_k import Index

STATEMENT = """
    SELECT   c.id, c.text, rerank_score(:q, c.text) AS score
    FROM     vector_top_k('chunks', embed(:q), 25) AS hit
    JOIN     chunks AS c ON c.id = hit.id
    ORDER BY score DESC
    LIMIT    3
"""
VERBS = ("read", "write", "compare", "copy", "split", "sort", "send", "wait for", "measure", "remove")
THINGS = ("a file", "the lines of a text", "a folder", "two dates")
PARTS = {
    "embed": (sqlrag.Embedder, "query_bytes"),
    "index": (Index, "vector_top_k"),
    "rerank": (sqlrag.Reranker, "scored"),
}
QUESTIONS = [f"how do I {verb} {thing} safely?" for verb in VERBS for thing in THINGS]


def timed(function, *arguments):
    """Return (milliseconds, result) of a call."""
    started = time.perf_counter()
    result = function(*arguments)
    return (time.perf_counter() - started) * 1000, result


@contextmanager
def stopwatch(owner: type, method: str, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add the milliseconds of each call of a method to what was spent under a name."""
    function = getattr(owner, method)

    def measured(*arguments, **options):
        milliseconds, result = timed(lambda: function(*arguments, **options))
        spent[name] = spent.get(name, 0.0) + milliseconds
        return result

    with patch.object(owner, method, measured):
        yield


def split(db: sqlrag.Database, questions: list[str]) -> dict[str, float]:
    """Return the medians in milliseconds."""
    db.execute(STATEMENT, {"q": "warm up"}).fetchall()
    times: dict[str, list[float]] = {name: [] for name in ("whole", *PARTS, "rest")}
    for question in questions:
        spent: dict[str, float] = {}
        with ExitStack() as stack:
            for name, (owner, method) in PARTS.items():
                stack.enter_context(stopwatch(owner, method, name, spent))
            whole, _ = timed(lambda q=question: db.execute(STATEMENT, {"q": q}).fetchall())
        for name, value in {"whole": whole, **spent, "rest": whole - sum(spent.values())}.items():
            times[name].append(value)
    return {name: median(values) for name, values in times.items()}


def cold_start(path: Path) -> float:
    """Return the median seconds of `sqlrag search` in a new process."""
    command = [sys.executable, "-m", "sqlrag", "search", str(path)]
    runs = []
    for question in QUESTIONS[:5]:
        milliseconds, _ = timed(lambda q=question: subprocess.run([*command, q], check=True, capture_output=True))
        runs.append(milliseconds / 1000)
    return median(runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=10_000, help="at most this many docstrings")
    parser.add_argument("--write", action="store_true", help="write benchmarks/statement.md")
    arguments = parser.parse_args()
    lines = [
        "# The two-stage statement, part by part",
        "",
        f"`python benchmarks/statement.py` on {len(os.sched_getaffinity(0))} CPUs ({platform.machine()}), "
        f"Python {platform.python_version()}; medians of {len(QUESTIONS)} questions, 25 candidates each, milliseconds.",
        "",
        "| engine | chunks | whole | embed | index | rerank | rest | rest, share | cold `sqlrag search`, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    documents = list(harvest())[: arguments.chunks]
    with tempfile.TemporaryDirectory() as folder:
        for engine in ("sqlite", "duckdb"):
            path = Path(folder) / f"stdlib.{engine}"
            with sqlrag.connect(path, engine=engine) as db:
                db.ingest(documents)
            with sqlrag.connect(path) as db:  # as it is asked: by somebody who opens it
                # The models remember what they were asked, for the whole process: each engine gets its own words.
                parts = split(db, [f"{question} ({engine})" for question in QUESTIONS])
                chunks = db.info()[0].chunks
            values = " | ".join(f"{parts[name]:.1f}" for name in ("whole", "embed", "index", "rerank", "rest"))
            share = parts["rest"] / parts["whole"]
            lines.append(f"| {engine} | {chunks:,} | {values} | {share:.1%} | {cold_start(path):.2f} |")
    table = "\n".join(lines) + "\n"
    print(table)
    if arguments.write:
        (Path(__file__).parent / "statement.md").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
