"""Statements that neither engine can stop: the server begins anew, and whoever connects then is served."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

import psycopg
import pytest

from tests.postgres.conftest import serving

pytestmark = pytest.mark.slow

UNSTOPPABLE = [
    ("sqlite", "SELECT instr(hex(zeroblob(7000000)), hex(zeroblob(3500000)) || '1')"),
    ("duckdb", "SELECT jaro_similarity(repeat('ab', 6000000), repeat('ba', 6000000))"),
    ("sqlite", "SELECT jaro_similarity(repeat('ab', 6000000), repeat('ba', 6000000)) FROM pg_type LIMIT 1"),
]


@pytest.mark.parametrize(("engine", "sql"), UNSTOPPABLE, ids=["sqlite", "duckdb", "catalog"])
def test_x3_the_server_begins_anew(served_files, engine, sql):
    """At the same address, with the same password; nothing else ends the function, and all cores are free again."""
    with serving(served_files[engine], engine, "--time-limit", "0.5") as served:
        with served.connect() as other:
            assert other.execute("SELECT 1").fetchone() == (1,)
            with served.connect() as connection, pytest.raises(psycopg.OperationalError):
                connection.execute(sql)
        until = time.monotonic() + 60
        while (answer := answered(served)) is None and time.monotonic() < until:
            time.sleep(0.1)
        assert answer == (25,)
        assert served.process.poll() is None
        assert (
            "the server begins anew: a statement could not be stopped after 0.5 s" in served.process.stderr.readline()
        )


@pytest.mark.parametrize(("engine", "sql"), UNSTOPPABLE, ids=["sqlite", "duckdb", "catalog"])
@pytest.mark.parametrize("presses", [1, 2])
def test_x3_ctrl_c_ends_the_server_whatever_runs(served_files, engine, sql, presses):
    """Four sessions in functions that nothing stops keep it no longer than one, and nothing crashes."""
    with serving(served_files[engine], engine, "--time-limit", "600") as served:
        asking = [threading.Thread(target=ask, args=(served, sql)) for _ in range(4)]
        for thread in asking:
            thread.start()
        with served.connect() as idle:
            idle.execute("SELECT 1")
            time.sleep(0.5)
            for _ in range(presses):
                served.process.send_signal(signal.SIGINT)
            assert served.process.wait(30) in {0, 130}
            assert not served.process.stderr.read()
        for thread in asking:
            thread.join()


def ask(served, sql):
    """Ask what is not answered."""
    with contextlib.suppress(psycopg.OperationalError), served.connect() as connection:
        connection.execute(sql)


def answered(served):
    """Return what a new client is answered, None while nobody listens."""
    try:
        with served.connect() as connection:
            return connection.execute("SELECT count(*) FROM documents").fetchone()
    except psycopg.OperationalError:
        return None
