"""Questions that would take gigabytes: whoever asks is told, the others are answered, and the memory comes back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.http.servers import served_both

CEILING = 2_300
"""MB: what the process of the questions has when it starts, and 2 GiB."""

COUNTING = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
LARGE = [
    ("sqlite", "SELECT " + ", ".join(["hex(zeroblob(8000000))"] * 100)),
    ("sqlite", f"SELECT 1 FROM ({COUNTING} SELECT hex(zeroblob(8000)) || i AS r FROM n LIMIT 200000) ORDER BY r"),
    ("duckdb", "SELECT repeat(repeat(i::VARCHAR, 1000), 500) FROM range(2048) AS n(i)"),
    ("duckdb", "SELECT replace(repeat('x', 300000), 'x', repeat('y', 10000))"),
]


@pytest.fixture(scope="module")
def patient(served_files):
    """A server of each engine with time enough for a busy machine."""
    with served_both(served_files, "--http", "--time-limit", "30") as both:
        yield both


@pytest.mark.parametrize(("engine", "sql"), LARGE, ids=lambda value: value[:40])
def test_x7_a_question_that_takes_gigabytes(patient, engine, sql):
    """Neither memory nor temporary files grow beyond the ceiling."""
    server = patient[engine]
    with server.client as client:
        assert client.post("/search", json={"question": "bees"}).status_code == 200
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        if not children.exists():
            pytest.skip("there is no /proc with the children of a process here")
        (child,) = (int(word) for word in children.read_text().split())
        before = megabytes(child, "VmRSS")
        answer = client.post("/sql", json={"statement": sql})
        assert (answer.status_code, "emory" in answer.json()["detail"]) == (422, True), answer.text
        until = time.monotonic() + 10
        while megabytes(child, "VmRSS") > before + 150 and time.monotonic() < until:
            time.sleep(0.1)
        assert megabytes(child, "VmRSS") < before + 150
        assert megabytes(child, "VmHWM") < CEILING
        assert client.post("/search", json={"question": "bees"}).status_code == 200
        assert [int(word) for word in children.read_text().split()] == [child]


def megabytes(process: int, what: str) -> int:
    """Return a figure of a process: VmRSS, or VmHWM, the most that it has had."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) // 1000
