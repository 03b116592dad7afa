"""One candidate of benchmarks/index.py in a process of its own: it builds its index, or answers queries from it.

    python index_process.py build NAME FOLDER VECTORS.npy COUNT
    python index_process.py query NAME FOLDER QUERIES.npz

Prints what it measured as one line of JSON. The queries go one at a time, through once to warm up and three times to
be timed (once where that takes long), for each setting of the candidate until its recall is 0.99.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import sys
import time
from pathlib import Path

import numpy as np

ENOUGH = 0.99
ROUNDS = 3
LONG = 10.0  # seconds for all queries


def candidate(name: str):
    """Return the candidate of a name; only sqlrag's own need sqlrag here."""
    if name.startswith("sqlrag"):
        from index_sqlrag import CANDIDATES
    else:
        from index_peers import CANDIDATES
    return CANDIDATES[name]()


def build(one, folder: Path, vectors: np.ndarray) -> dict[str, object]:
    """Return the seconds that the build takes, and its size in bytes."""
    started = time.perf_counter()
    after_insertion = one.build(vectors, folder)
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    version = f"{one.package} {importlib.metadata.version(one.package)}"
    return {
        "title": one.title,
        "version": version,
        "build_seconds": seconds,
        "index_seconds": after_insertion,
        "bytes": size,
    }


def query(one, folder: Path, queries: np.ndarray, nearest: np.ndarray) -> dict[str, object]:
    """Return a point for each setting: recall, percentiles in milliseconds, the process's peak memory in bytes.

    `first`: the milliseconds from opening the index to the first answer.
    """
    asked = [one.query(vector) for vector in queries]
    started = time.perf_counter()
    one.open(folder)
    one.tune(one.sweep[0])
    one.search(asked[0], nearest.shape[1])
    first = (time.perf_counter() - started) * 1000
    truth = [set(row.tolist()) for row in nearest]
    k = nearest.shape[1]
    points: list[dict[str, object]] = []
    for setting in one.sweep:
        one.tune(setting)
        started = time.perf_counter()
        found = [one.search(q, k) for q in asked]
        rounds = 1 if time.perf_counter() - started > LONG else ROUNDS
        recall = float(np.mean([len(near.intersection(ids)) / k for ids, near in zip(found, truth, strict=True)]))
        times = [milliseconds(one, q, k) for _ in range(rounds) for q in asked]
        p50, p99 = (float(value) for value in np.percentile(times, (50, 99)))
        points.append({"setting": setting, "recall": recall, "p50": p50, "p99": p99, "memory": peak_memory()})
        if setting is not None and recall >= ENOUGH:
            break
    return {"setting": one.setting, "first": first, "points": points}


def milliseconds(one, asked, k: int) -> float:
    started = time.perf_counter()
    one.search(asked, k)
    return (time.perf_counter() - started) * 1000


def peak_memory() -> int | None:
    """Return the largest resident size of this process so far, in bytes; None where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(kilobytes) * 1024


def main() -> None:
    task, name, folder, data, *count = sys.argv[1:]
    one = candidate(name)
    for module in one.modules:
        importlib.import_module(module)  # before the clock starts
    if task == "build":
        found = build(one, Path(folder), np.load(data, mmap_mode="r")[: int(*count)])
    else:
        with np.load(data) as file:
            found = query(one, Path(folder), file["queries"], file["nearest"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
