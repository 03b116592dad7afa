"""The index against what people would use instead: build, size, memory, time of a query and recall, as N grows.

    python -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers.txt
    python benchmarks/index.py --vectors million.npy [--data ../shared/data] [--n 10000 100000 1000000]
                               [--only sqlrag,faiss-ivf] [--write]

The vectors are embeddings of real texts, enlarged as index_vectors.py says: from --data, or without it from the
docstrings of the standard library. --vectors keeps them in a file, and takes what is there. The last 200 are the
queries, and in no index; the first N are (all others, where N is the whole file).

Each candidate builds in a process of its own with as many threads as it likes, then answers in another one with one
thread, one query at a time; nothing else runs meanwhile. sqlrag runs in this Python, the peers in that of their own
environment (--peers). A candidate whose build or queries take more than --minutes is left out at this N.
"first" is opening the index and the first answer of that process, whose modules were loaded before: no model is
there, and the file lies in the system's memory.
recall@25 is against the exact neighbours. Peers are tried at several settings, and their row is the first that reaches
a recall of 0.95; sqlrag's is its default. --write puts rows into index.json, in the place of those of the same
candidate and N, and makes index.md and index.png of all that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from evaluation import write
from index_peers import CANDIDATES as PEERS
from index_plot import plot
from index_sqlrag import CANDIDATES as OWN
from index_vectors import QUERIES, exact, vectors

HERE = Path(__file__).parent
RESULTS = Path(__file__).with_suffix(".md")
PEERS_PYTHON = HERE.parent / ".venv-peers/bin/python"
ENOUGH = 0.95
NAMES = [*OWN, *PEERS]
ONE_THREAD = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS", "LANCE_CPU_THREADS",
)  # fmt: skip
COLUMNS = (
    "N", "candidate", "setting", "build, s", "of it index, s", "file, MB", "memory, MB", "first, ms", "p50, ms",
    "p99, ms", "recall@25",
)  # fmt: skip

Row: TypeAlias = dict[str, Any]


def process(python: Path, *arguments: object, minutes: float, **environment: str) -> Row:
    """Return what a candidate's process measured, `left_out` where it took too long."""
    command = [str(argument) for argument in (python, HERE / "index_process.py", *arguments)]
    environment = os.environ | environment
    limit = minutes * 60
    try:
        done = subprocess.run(command, timeout=limit, capture_output=True, text=True, check=False, env=environment)
    except subprocess.TimeoutExpired:
        return {"left_out": f"{arguments[0]}: more than {minutes:g} minutes"}
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, python: Path, *, data: Path, n: int, questions: Path, minutes: float) -> Row:
    """Return what a candidate's two processes measured on the first n vectors of a file, with queries of another."""
    with tempfile.TemporaryDirectory(dir=questions.parent) as folder:
        row = process(python, "build", name, folder, data, n, minutes=minutes)
        if "left_out" not in row:
            threads = dict.fromkeys(ONE_THREAD, "1")
            row |= process(python, "query", name, folder, questions, minutes=minutes, **threads)
        return row


def reported(row: Row) -> Row:
    """Return the point of a row that stands in the table: the default, or the fastest that finds enough."""
    points = row["points"]
    return next((point for point in points if point["setting"] is None or point["recall"] >= ENOUGH), points[-1])


def line(row: Row) -> str:
    """Return a row of the table."""
    title = (OWN | PEERS)[row["candidate"]].title
    if "left_out" in row:
        cells = [title, row["left_out"], *[""] * (len(COLUMNS) - 3)]
    else:
        point = reported(row)
        index, memory = row["index_seconds"], point["memory"]
        cells = [
            title,
            setting(row, point),
            f"{row['build_seconds']:.1f}",
            "" if index is None else f"{index:.1f}",
            f"{row['bytes'] / 1e6:,.0f}",
            "" if memory is None else f"{memory / 1e6:,.0f}",
            f"{row['first']:.1f}" if "first" in row else "",
            f"{point['p50']:.2f}",
            f"{point['p99']:.2f}",
            f"{point['recall']:.3f}",
        ]
    return "| " + " | ".join([f"{row['n']:,}", *cells]) + " |"


def setting(row: Row, point: Row) -> str:
    if not row["setting"]:
        return ""
    value = point["setting"]
    value = ", ".join(map(str, value)) if isinstance(value, list) else "default" if value is None else value
    return f"{row['setting']} {value}"


def table(rows: list[Row]) -> list[str]:
    """Return the lines of the table, and which versions it is of."""
    versions = dict.fromkeys(row["version"] for row in rows if "version" in row)
    return [
        "| " + " | ".join(COLUMNS) + " |",
        "| --: | --- | --- |" + " --: |" * (len(COLUMNS) - 3),
        *map(line, rows),
        "",
        f"{', '.join(versions)}; Python {platform.python_version()}, {len(os.sched_getaffinity(0))} CPUs "
        f"({platform.machine()}).",
    ]


def merged(new: list[Row]) -> list[Row]:
    """Return the rows of index.json with these in their places."""
    kept = RESULTS.with_suffix(".json")
    rows = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    by_place = {(row["n"], row["candidate"]): row for row in rows + new}
    return sorted(by_place.values(), key=lambda row: (row["n"], NAMES.index(row["candidate"])))


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    parser.add_argument("--vectors", type=Path, metavar="FILE.npy", help="keep the vectors there, or take those there")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="texts to embed; without it, docstrings")
    parser.add_argument("--n", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", default=",".join(NAMES), metavar="NAMES", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--peers", type=Path, default=PEERS_PYTHON, metavar="PYTHON", help="of the peers' environment")
    parser.add_argument("--minutes", type=float, default=6, help="the most that a build or its queries may take")
    parser.add_argument("--write", action="store_true", help=f"put the results into {RESULTS.name}, .json and .png")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    if unknown := set(arguments.only) - set(NAMES):
        parser.error(f"no candidate {', '.join(unknown)}: there are {', '.join(NAMES)}")
    if set(arguments.only) - set(OWN) and not arguments.peers.exists():
        parser.error(f"no {arguments.peers}: make it as benchmarks/peers.txt says, or measure --only {','.join(OWN)}")
    return arguments


def main() -> None:
    arguments = arguments_of(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    if os.getloadavg()[0] > 0.5:
        print("the machine is busy with other work: times will be too long", file=sys.stderr)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        path = arguments.vectors or Path(temporary) / "vectors.npy"
        questions = Path(temporary) / "questions.npz"
        found = vectors(path, arguments.data, max(arguments.n))
        queries = np.array(found[-QUERIES:])
        for n in sorted(arguments.n):
            indexed = found[: min(n, len(found) - QUERIES)]
            np.savez(questions, queries=queries, nearest=exact(indexed, queries))
            for name in arguments.only:
                python = Path(sys.executable) if name in OWN else arguments.peers.absolute()
                row = measure(name, python, data=path, n=len(indexed), questions=questions, minutes=arguments.minutes)
                row = {"n": n, "candidate": name} | row
                print(line(row), flush=True)
                rows.append(row)
                if arguments.write:
                    write(RESULTS, table(merged(rows)), merged(rows))
    print(*table(rows), sep="\n")
    if arguments.write:
        plot(merged(rows), {name: one.title for name, one in (OWN | PEERS).items()}, RESULTS.with_suffix(".png"))


if __name__ == "__main__":
    main()
