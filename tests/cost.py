"""What the tests cost in seconds of the processor, and the budget of the fast suite.

Each test's seconds are those of its process and of the processes that it started and waited for; fixtures count for the
test that is the first to need them. Set by CI:

- `SQLRAG_COSTS=FILE` appends a line of JSON for each test, over several runs. `python -m tests.cost FILE` prints the
  twenty that cost the most.
- `SQLRAG_BUDGET=1` fails the run if all of it costs more than `BUDGET` times a fixed piece of work, and a tenth. The
  piece is timed in the same run, in each of its processes, at the beginning and at the end: so it doesn't matter how
  fast the machine is, or what else runs on it.

To renew `BUDGET` after a change that is worth its cost, run the fast suite alone on a quiet machine from a fresh clone
(without the results that earlier runs have kept) and take the number that it prints:

    rm -rf .kept_results; SQLRAG_BUDGET=1 python -m pytest -n 2 --dist loadfile -m "not slow and not data and not torch"
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import mean

import pytest

BUDGET = 900.0
"""The fast suite in pieces of work: 831 (498 s of the processor), and room for other kinds of processors."""
SLACK = 0.1
LONGEST = (
    "postgres/test_limits.py",
    "clients/test_mcp.py",
    "beside/test_forks.py",
    "beside/test_duckdb_names.py",
    "beside/test_duckdb_keys.py",
    "beside/test_duckdb_freshness.py",
    "beside/test_duckdb_index_file.py",
    "engine/test_odd_types.py",
    "engine/test_index_file.py",
    "engine/test_ties.py",
    "index/test_codes.py",
    "docs/test_examples.py",
    "docs/test_pages.py",
    "live/test_tracking.py",
    "live/test_tables.py",
    "live/test_shadow_tables.py",
    "live/test_repair.py",
    "engine/test_confinement.py",
    "engine/test_score_cache.py",
    "serve/test_commands.py",
    "live/test_reindex.py",
    "live/test_hostile.py",
    "evaluation/test_evaluate.py",
    "index/test_scan.py",
    "cli/test_commands.py",
    "cli/test_ingest.py",
)
"""Files that are handed out first, so that no process is left alone with one of them at the end."""
COSTS, FAILS = "SQLRAG_COSTS", "SQLRAG_BUDGET"

_pieces: list[float] = []
_workers: list[dict] = []
"""What the processes of pytest-xdist have used, and how long the piece of work took them."""


def used() -> float:
    """Return the seconds that this process has used, with those that it started and waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def piece_of_work() -> float:
    """Do a bit of all that the tests do, and nothing of sqlrag's own code; return the seconds that it took."""
    import duckdb
    import numpy as np
    import onnxruntime

    begun = used()
    subprocess.run([sys.executable, "-c", "import json, numpy, sqlite3, duckdb"], check=True)
    words = re.findall(r"\w+", Path(__file__).read_text(encoding="utf-8"))
    for _ in range(100):
        json.loads(json.dumps(Counter(words)))
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5(word)")
        connection.executemany("INSERT INTO t VALUES (?)", ((word,) for word in words * 20))
        connection.execute("SELECT count(*) FROM t WHERE t MATCH 'seconds'").fetchall()
    for _ in range(5):
        with duckdb.connect(":memory:", config={"threads": 1}) as database:
            for number in range(10):
                database.execute(f"CREATE TABLE t{number} AS SELECT range AS i, hash(range) AS h FROM range(1000)")
                database.execute("SELECT count(*) FROM duckdb_columns() JOIN duckdb_tables() USING (table_name)")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = Path(__file__).parents[1] / "sqlrag" / "models" / "bundled" / "all-MiniLM-L6-v2" / "model.onnx"
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    tokens = np.arange(1000, 1100, dtype=np.int64)[np.newaxis]
    inputs = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "token_type_ids": np.zeros_like(tokens)}
    for _ in range(10):
        session.run(None, {each.name: inputs[each.name] for each in session.get_inputs()})
    return used() - begun


def pytest_collection_modifyitems(items) -> None:
    """Put the longest files first; the order within each file stays."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(f"{item.path.parent.name}/{item.path.name}", len(LONGEST)))


def pytest_sessionstart(session) -> None:
    """Time the piece of work, unless this process only hands out tests to others."""
    if os.environ.get(FAILS) and not _hands_out(session.config):
        _pieces.append(piece_of_work())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Write down what a test costs."""
    begun = used()
    result = yield
    if path := os.environ.get(COSTS):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps([used() - begun, item.nodeid]) + "\n")
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session) -> None:
    """Tell the process that hands out tests what this one has used; fail the run that costs more than the budget."""
    if not os.environ.get(FAILS):
        return
    config = session.config
    if not _hands_out(config):
        seconds = used() - sum(_pieces)
        _pieces.append(piece_of_work())
        mine = {"seconds": seconds, "pieces": _pieces}
        if hasattr(config, "workeroutput"):
            config.workeroutput["cost"] = mine
            return
        _workers.append(mine)
    if cost_in_pieces() > BUDGET * (1 + SLACK) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Note what a process of pytest-xdist has used."""
    if cost := getattr(node, "workeroutput", {}).get("cost"):
        _workers.append(cost)


def print_cost(terminalreporter) -> None:
    """Print the cost of the run beside the budget."""
    if os.environ.get(FAILS):
        seconds, piece = _sums()
        terminalreporter.write_line(
            f"cost: {seconds:.0f} s of the processor, {cost_in_pieces():.0f} times the piece of work ({piece:.2f} s); "
            f"the budget is {BUDGET:.0f} and {SLACK:.0%} of it (tests/cost.py)"
        )


def cost_in_pieces() -> float:
    """Return what the run has cost, in pieces of work."""
    seconds, piece = _sums()
    return seconds / piece


def _sums() -> tuple[float, float]:
    """Return the seconds of all processes, and the mean of their pieces of work."""
    return sum(worker["seconds"] for worker in _workers), mean(
        piece for worker in _workers for piece in worker["pieces"]
    )


def _hands_out(config) -> bool:
    return bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")


def slowest(path: Path, count: int = 20) -> list[tuple[float, str]]:
    """Return the tests of a file that SQLRAG_COSTS named which cost the most, the most expensive first."""
    costs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted(((seconds, name) for seconds, name in costs), reverse=True)[:count]


if __name__ == "__main__":
    for seconds, name in slowest(Path(sys.argv[1])):
        print(f"{seconds:7.1f} s  {name}")
