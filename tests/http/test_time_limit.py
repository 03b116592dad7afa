"""Questions that neither SQLite nor DuckDB can stop: they are answered in time, and so is whoever asks next."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sqlrag.serve.untrusted import GRACE_SECONDS
from tests.http.servers import served, served_both

LONG = "hex(zeroblob(7000000))"
UNSTOPPABLE = {
    "sqlite": [
        f"SELECT length(replace({LONG}, hex(zeroblob(3500000)) || '1', 'b')) AS n",
        f"SELECT instr({LONG}, hex(zeroblob(3500000)) || '1') AS n",
        "SELECT 1 AS n FROM chunks_fts WHERE chunks_fts MATCH replace(hex(zeroblob(200000)), '00', 'a OR ') || 'b'",
        f"SELECT {', '.join(f'length(hex(randomblob(8000000))) AS c{number}' for number in range(400))}",
    ],
    "duckdb": [
        "SELECT jaro_similarity(repeat('ab', 3000000), repeat('ba', 3000000)) AS n",
        "SELECT len(list_distinct(range(50000000))) AS n",
    ],
}
CASES = [(engine, sql) for engine, statements in UNSTOPPABLE.items() for sql in statements]


@pytest.fixture(scope="module")
def hurried(served_files):
    """A server of each engine whose questions may take half a second."""
    with served_both(served_files, "--http", "--time-limit", "0.5") as both:
        yield both


@pytest.mark.parametrize(("engine", "sql"), CASES, ids=lambda value: value[:60])
def test_x3_what_cannot_be_stopped_is_answered_in_time(hurried, engine, sql):
    """It is 408 for whoever asked, the others are served, and a line of the log says what happened."""
    server = hurried[engine]
    with server.client as client, server.client as other, ThreadPoolExecutor(1) as thread:
        endless = thread.submit(client.post, "/sql", json={"statement": sql})
        time.sleep(0.1)
        assert other.post("/sql", json={"statement": "SELECT 1 AS x"}).json()["rows"] == [{"x": 1}]
        answer = endless.result()
    assert (answer.status_code, "stopped after 0.5 s" in answer.json()["detail"]) == (408, True)
    until = time.monotonic() + 10  # another thread reads the log
    while not any("could not be stopped" in line for line in server.log):
        assert time.monotonic() < until, server.log
        time.sleep(0.05)


def test_x3_the_process_of_the_questions_ends_with_the_server(passage_files):
    """It outlives a server that is killed by no more than the time limit, whatever it does."""
    sql = UNSTOPPABLE["sqlite"][0]
    with served(passage_files["sqlite"], "--http", "--time-limit", "600") as server, server.client as client:
        client.post("/sql", json={"statement": "SELECT 1"})
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        if not children.exists():
            pytest.skip("there is no /proc with the children of a process here")
        (child,) = (int(word) for word in children.read_text().split())
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(client.post, "/sql", json={"statement": sql})
            time.sleep(0.2)
            os.kill(server.pid, 9)
            assert asked.exception() is not None
        until = time.monotonic() + 30
        while is_running(child) and time.monotonic() < until:
            time.sleep(0.02)
        assert not is_running(child)


def is_running(pid):
    """Tell whether a process runs; what has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_x3_a_process_that_dies_is_replaced(passage_files):
    """Of whatever reason: killed for memory, say. The question learns it; the next one is answered."""
    with served(passage_files["sqlite"], "--http") as server, server.client as client:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        if not children.exists():
            pytest.skip("there is no /proc with the children of a process here")
        os.kill(int(children.read_text()), 9)
        statuses = [client.post("/sql", json={"statement": "SELECT 1 AS x"}).status_code for _ in range(3)]
        assert statuses[-1] == 200
        assert set(statuses) <= {200, 500}


def test_x7_a_question_takes_no_more_memory_than_there_is(served_files):
    """DuckDB's functions allocate beside its memory_limit: the question fails, and the server answers on."""
    sql = "SELECT length(repeat(repeat('x', 1000000), 3500)) AS n"
    with served(served_files["duckdb"], "--http") as server, server.client as client:
        assert client.post("/sql", json={"statement": sql}).status_code in {422, 500, 503}
        assert client.post("/sql", json={"statement": "SELECT 1 AS x"}).json()["rows"] == [{"x": 1}]


def test_x3_the_grace_is_small():
    """Everybody else waits for one question no longer than its limit and this."""
    assert GRACE_SECONDS <= 2
