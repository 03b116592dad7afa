"""Mutated messages to each protocol that sqlrag answers, and mutated pages of its files under its C library.

    python benchmarks/fuzz.py [--scale 1.0] [--write]       # 1,000,000 messages, 100,000 pages; an hour

Runs the commands below, two at a time. Each prints what it saw, and ends with an error where it found something;
what it found is kept and replayed by the tests.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]

LOOKED_AT = """\
Each command has a server of its own, which has to survive all of it: no crash, no answer that does not come, honest
clients in between are answered right, and memory stays within a bound (HTTP's is printed). What found something once is
kept, and the tests send it again: `tests/serve/corpus`, `tests/postgres/corpus.txt`, REGRESSIONS of the HTTP fuzzer.
"""

COMMANDS = (
    ("the socket of `sqlrag serve`", ["tests.serve.fuzz", "--seed", "11", "--messages"], 600_000),
    ("`sqlrag serve DB --http`, half for each engine", ["tests.http.fuzz", "--seed", "11", "--messages"], 100_000),
    ("`sqlrag serve DB --postgres`", ["tests.postgres.fuzz", "--seed", "11", "--messages"], 200_000),
    (
        "`sqlrag serve DB --postgres`, DuckDB",
        ["tests.postgres.fuzz", "--seed", "11", "--engine", "duckdb", "--messages"],
        100_000,
    ),
    (
        "the C library with AddressSanitizer and UndefinedBehaviorSanitizer, over pages of real files",
        ["tests.extension.fuzz", "--seed", "11", "--pages"],
        100_000,
    ),
)
"""What is fuzzed, the module that does it, and with how many messages, or pages."""


def run(module: list[str], count: int) -> tuple[list[str], float, bool]:
    """Run one; return what it printed, the seconds, and whether it ended well."""
    began = time.perf_counter()
    command = [sys.executable, "-m", *module, str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode:
        said += done.stderr.splitlines()[-1:]
    return said, time.perf_counter() - began, not done.returncode


def main() -> None:
    """Run all, print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="so many times as many messages")
    parser.add_argument("--write", action="store_true", help="write benchmarks/fuzz.md")
    arguments = parser.parse_args()
    lines, total, well = [], 0, True
    counts = [int(messages * arguments.scale) for *_, messages in COMMANDS]
    with ThreadPoolExecutor(2) as two:
        ran = two.map(run, [module for _, module, _ in COMMANDS], counts)
        for (title, module, _), count, (said, seconds, ended_well) in zip(COMMANDS, counts, ran, strict=True):
            total, well = total + count, well and ended_well
            lines += [f"**{title}**, {seconds:,.0f} s, {'nothing found' if ended_well else 'FOUND'}:", ""]
            lines += ["```console", f"$ python -m {' '.join(module)} {count}", *said, "```", ""]
            print("\n".join(lines[-6 - len(said) :]), flush=True)
    text = "\n".join(
        [
            "# Mutated messages",
            "",
            f"`python benchmarks/fuzz.py` on {os.cpu_count()} CPUs ({platform.machine()}), Python "
            f"{platform.python_version()}: {total:,} messages in all.",
            "",
            LOOKED_AT,
            *lines,
        ]
    )
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(text.rstrip() + "\n")
    sys.exit(not well)


if __name__ == "__main__":
    main()
