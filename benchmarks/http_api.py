"""A search over HTTP against the same search in the process, both warm.

`python benchmarks/http_api.py --write`: on both engines, the tests' passages, questions taken in turn so that the
machine is the same for both; of each way the median. No score is remembered: each way is asked each question once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2

import sqlrag

ROOT = Path(__file__).parents[1]
PASSAGES = ROOT / "tests" / "passages.jsonl"


def questions(count: int, first: int) -> Iterator[str]:
    """Yield questions about the passages, no two of them the same."""
    texts = [json.loads(line)["text"].split() for line in PASSAGES.read_text(encoding="utf-8").splitlines()]
    for number in range(first, first + count):
        words = texts[number % len(texts)]
        start = number // len(texts) % max(1, len(words) - 8)
        yield " ".join(words[start : start + 8])


def milliseconds(ask: Callable[[str], None], question: str) -> float:
    began = time.perf_counter()
    ask(question)
    return (time.perf_counter() - began) * 1000


def measure(path: Path, count: int, first: int) -> tuple[float, float, float]:
    """Return the medians in ms: in the process, over HTTP, and of a statement without a model over HTTP."""
    command = [sys.executable, "-m", "sqlrag", "serve", str(path), "--http", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            told = json.loads(server.stdout.readline())
            client = httpx2.Client(base_url=told["url"], headers={"Authorization": f"Bearer {told['token']}"})
            with sqlrag.connect(path, read_only=True) as db, client:

                def here(question: str) -> None:
                    db.search(question)

                def there(question: str) -> None:
                    assert client.post("/search", json={"question": question}, timeout=60).status_code == 200

                for warm in ("bees", "tides"):
                    here(warm)
                    there(warm)
                took: dict[Callable[[str], None], list[float]] = {here: [], there: []}
                for number, question in enumerate(questions(count, first)):
                    # The first of a pair finds the processor's caches as the other left them: they take turns.
                    for ask in (here, there) if number % 2 else (there, here):
                        took[ask].append(milliseconds(ask, question))
                bare = [
                    milliseconds(lambda sql: client.post("/sql", json={"statement": sql}), f"SELECT {number}")
                    for number in range(count)
                ]
            return statistics.median(took[here]), statistics.median(took[there]), statistics.median(bare)
        finally:
            server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="write benchmarks/http_api.md")
    arguments = parser.parse_args()
    lines = [
        "# A search over HTTP",
        "",
        f"`python benchmarks/http_api.py` on {len(os.sched_getaffinity(0))} CPUs ({platform.machine()}), load "
        f"{os.getloadavg()[0]:.1f} at its start, Python {platform.python_version()}; {arguments.questions} questions "
        "over 25 passages, all of which are reranked; medians.",
        "",
        "| engine | `Database.search`, ms | `POST /search`, ms | more, ms | `POST /sql` of `SELECT 1`, ms |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, suffix in enumerate(("db", "duckdb")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"passages.{suffix}"
            with sqlrag.connect(path) as db:
                db.ingest(PASSAGES)
                engine = db.engine
            here, there, bare = measure(path, arguments.questions, number * arguments.questions)
            more = f"{there - here:+.1f} ({there / here - 1:+.0%})"
            lines.append(f"| {engine} | {here:.1f} | {there:.1f} | {more} | {bare:.1f} |")
    print("\n".join(lines))
    if arguments.write:
        (Path(__file__).parent / "http_api.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
