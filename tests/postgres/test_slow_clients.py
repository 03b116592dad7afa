"""Clients that fetch a row and fall silent, read slowly, or never say who they are: nobody else waits for them."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import struct
import threading
import time

import psycopg
import pytest

import sqlrag
from sqlrag.serve.postgres import server
from sqlrag.serve.postgres.messages import Wire
from tests.conftest import PASSAGES
from tests.postgres.conftest import SECRET, serving
from tests.postgres.test_limits import ENDLESS, Raw, memory, startup

pytestmark = pytest.mark.slow

ROWS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT c.id, c.text FROM chunks AS c, n LIMIT {}",
    "duckdb": "SELECT c.id, c.text FROM chunks AS c, range({}) AS n(i)",
}


@pytest.fixture(params=["delete", "wal"])
def owned(request, tmp_path):
    """A SQLite file of somebody's, with an index, in each kind of journal."""
    path = tmp_path / "owned.db"
    with sqlrag.connect(path) as db:
        db.ingest(PASSAGES)
    with contextlib.closing(sqlite3.connect(path)) as owner:
        assert owner.execute(f"PRAGMA journal_mode = {request.param}").fetchone() == (request.param,)
    return path


def update(path) -> None:
    """Write as the file's owner does, who waits for nobody."""
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as owner, owner:
        owner.execute("UPDATE documents SET title = title || '.'")


def log_can_be_emptied(path) -> bool:
    """Tell whether no reader holds the write-ahead log; a file without one has none to hold."""
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as owner:
        return owner.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def open_portal(served, sql, fetched=1) -> Raw:
    """Return a client that has fetched some rows of a statement, in a transaction."""
    raw = Raw(served)
    raw.send(b"Q", b"BEGIN\0")
    assert raw.kinds() == "CZ"
    raw.parse("", sql)
    raw.send(b"B", b"p\0\0\0\0\0\0\0\0")
    raw.execute("p", fetched)
    raw.send(b"S")
    assert raw.kinds() == "12" + "D" * fetched + "sZ"
    return raw


def until(is_so, seconds=8.0) -> bool:
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not is_so() and time.monotonic() < ends:
        time.sleep(0.05)
    return is_so()


def can_update(path) -> bool:
    """Tell whether the owner can write, and empty the log."""
    try:
        update(path)
    except sqlite3.OperationalError as error:
        assert "locked" in str(error)  # noqa: PT017 - nothing else may be wrong
        return False
    return log_can_be_emptied(path)


def test_x5_a_small_result_that_is_not_fetched_holds_no_file(owned):
    """After a moment its rows are in memory, the owner writes, and the client gets the rest as it was."""
    with serving(owned, "sqlite", "--time-limit", "60") as served:
        raw = open_portal(served, "SELECT id FROM chunks ORDER BY id LIMIT 10")
        assert until(lambda: can_update(owned))
        raw.execute("p", 0)
        raw.send(b"S")
        assert raw.kinds() == "DDDDDDDDDCZ"
        raw.close()


def test_x5_a_large_result_ends_with_the_statement_s_time(owned):
    """Of a client that is silent, asks something else meanwhile, or does not read: then the owner writes again."""
    endless = ROWS["sqlite"].format(-1)
    with serving(owned, "sqlite", "--time-limit", "2") as served, contextlib.ExitStack() as stack:
        silent, busy = (stack.enter_context(contextlib.closing(open_portal(served, endless))) for _ in range(2))
        reading = stack.enter_context(contextlib.closing(Raw(served)))
        reading.send(b"Q", endless.encode() + b"\0")
        assert not can_update(owned)
        ends = time.monotonic() + 10
        while not can_update(owned) and time.monotonic() < ends:
            busy.send(b"Q", b"SELECT 1\0")
            assert busy.kinds() == "TDCZ"
            time.sleep(0.05)
        assert can_update(owned)
        for raw in (silent, busy):
            raw.execute("p", 1)
            raw.send(b"S")
            assert raw.kinds() == "EZ"


def test_x5_begin_and_silence_hold_nothing(owned):
    """A transaction is the client's notion alone."""
    with serving(owned, "sqlite") as served, served.connect(autocommit=False) as client:
        assert client.execute("SELECT count(*) FROM chunks").fetchone() == (25,)
        assert client.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        assert can_update(owned)


def test_x5_the_error_of_a_portal_that_has_ended(passage_files, engine):
    """It is that of a statement that took too long; the session goes on."""
    with serving(passage_files[engine], engine, "--time-limit", "1") as served:
        raw = open_portal(served, ROWS[engine].format(10_000_000))
        time.sleep(1.3)
        raw.execute("p", 1)
        raw.send(b"S")
        data = b""
        while not data.endswith(b"Z\0\0\0\5E"):
            data += raw.socket.recv(65536)
        assert b"C57014\0Mstopped 1 s after it began: fetch the rows sooner" in data
        raw.send(b"Q", b"ROLLBACK\0")
        assert raw.kinds() == "CZ"
        raw.send(b"Q", b"SELECT 1\0")
        assert raw.kinds() == "TDCZ"
        raw.close()


def test_x5_an_error_among_the_rows_comes_at_its_place(servers):
    """Also where they were taken into memory before: the 150th is no number, as those were that the type is told by."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200) "
    with contextlib.closing(
        open_portal(servers["sqlite"], f"{numbers} SELECT CASE WHEN i < 150 THEN i ELSE 'x' END FROM n")
    ) as raw:
        time.sleep(0.4)
        raw.execute("p", 100)
        raw.execute("p", 0)
        raw.send(b"S")
        assert raw.kinds() == "D" * 100 + "s" + "D" * 48 + "EZ"


def test_x5_the_portals_with_rows_left_are_limited(servers):
    """Each has a statement open in SQLite; DuckDB's connection has one result at a time."""
    with contextlib.closing(open_portal(servers["sqlite"], ROWS["sqlite"].format(-1))) as raw:
        kinds = []
        for number in range(40):
            raw.parse("", ROWS["sqlite"].format(-1))
            raw.send(b"B", f"p{number}\0\0".encode() + b"\0\0\0\0\0\0")
            raw.execute(f"p{number}", 1)
            raw.send(b"S")
            kinds.append(raw.kinds())
            if "E" in kinds[-1]:
                break
        assert kinds == ["12DsZ"] * 31 + ["12EZ"]


def test_x5_what_a_portal_has_left_is_not_kept_without_end(servers, engine):
    """Of 1,000 MB some are taken into memory."""
    rows = ROWS[engine].format(100_000_000).replace("c.text", "substr(c.text || c.text || c.text, 1, 1000)")
    before = memory(servers[engine])
    with contextlib.closing(open_portal(servers[engine], rows)):
        time.sleep(1)
        assert memory(servers[engine]) - before < 100


def test_x6_slow_strangers_lock_nobody_out(passage_files):
    """Any number of them may send a byte now and then: the owner of the password gets in at once."""
    with serving(passage_files["sqlite"], "sqlite") as served, contextlib.ExitStack() as stack:
        inside = stack.enter_context(served.connect())
        strangers = []
        for _ in range(150):
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=10))
            stranger.sendall(startup()[:5])
            strangers.append(stranger)
        for _ in range(3):
            for stranger in strangers:
                with contextlib.suppress(OSError):
                    stranger.sendall(b"\0")
            with served.connect(connect_timeout=5) as client:
                assert client.execute("SELECT 1").fetchone() == (1,)
        assert inside.execute("SELECT 1").fetchone() == (1,)  # who is in is not one of them
        assert threads(served) < 100


def threads(served) -> int:
    """Return how many threads the server has."""
    with open(f"/proc/{served.process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Threads:"))


@pytest.mark.parametrize(
    "said",
    [b"\0" * 60, startup() + b"p\0\0\0\x40" + b"x" * 40, struct.pack("!ii", 8, 80877104) * 9],
    ids=["nothing", "password", "encryption"],
)
def test_x6_signing_in_has_one_limit_of_time(passage_files, monkeypatch, said):
    """However often a byte comes: in the first message, in the password, in requests for encryption."""
    monkeypatch.setattr(server, "_START_SECONDS", 0.6)
    one = server.Server(str(passage_files["sqlite"]), SECRET)
    ours, theirs = socket.socketpair()
    with theirs:
        wire = Wire(ours, server._START_SECONDS)
        signing = threading.Thread(target=one._converse, args=(wire,))
        signing.start()
        for byte in said:
            with contextlib.suppress(OSError):
                theirs.sendall(bytes([byte]))
            signing.join(0.05)
            if not signing.is_alive():
                break
        assert not signing.is_alive()  # after a dozen bytes, or when it had been told what is wrong
    one._stop()


def test_a_server_without_descriptors_goes_on(passage_files, engine):
    """Strangers leave some to who has the password; who comes when there is none gets in after others have gone."""
    with serving(passage_files[engine], engine, descriptors=48) as served, contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=10))
        assert comes_in(served)
        clients = []
        with pytest.raises(psycopg.OperationalError):  # FATAL: Too many open files; or no answer in time
            clients.extend(served.connect(connect_timeout=2) for _ in range(40))
        assert clients
        for client in clients:
            client.close()
        assert until(lambda: comes_in(served))
        assert served.process.poll() is None
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(timeout=20) == 0
        said = served.process.stderr.read()
        assert said.count("a client had to wait") <= 1
        assert len(said.splitlines()) <= 1


def comes_in(served) -> bool:
    """Tell whether a client is let in."""
    try:
        with served.connect(connect_timeout=2) as client:
            return client.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def test_a_cancel_is_heard_among_strangers(servers, engine):
    """A request to stop a statement comes on a connection of its own, which has no password."""
    with contextlib.ExitStack() as stack, servers[engine].connect() as client:
        for _ in range(80):
            stack.enter_context(socket.create_connection(("127.0.0.1", servers[engine].port), timeout=10))
        timer = threading.Timer(0.3, client.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled, match="user request"):
            client.execute(ENDLESS[engine])
        timer.join()
