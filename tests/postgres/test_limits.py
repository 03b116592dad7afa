"""Who may connect, what they may do, and what happens when something goes wrong."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

import psycopg
import pytest

import sqlrag
from sqlrag.serve.postgres.server import CONNECTIONS
from sqlrag.serve.postgres.sqlstate import sqlstate
from tests.engine.test_confinement import FORBIDDEN
from tests.postgres.conftest import SECRET, serving
from tests.postgres.test_clients import QUESTION, STATEMENT

ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "duckdb": "SELECT count(*) FROM range(100000) AS a, range(1000000000) AS b WHERE a.range + b.range = 7",
}


def refused(served, match, **options):
    """Connecting fails, with these words."""
    with pytest.raises(psycopg.OperationalError, match=match), served.connect(**options):
        pass


def code_of(client, sql, params=None):
    """Return the SQLSTATE of a statement's error."""
    with pytest.raises(psycopg.Error) as caught:
        client.execute(sql, params)
    return caught.value.sqlstate


def test_who_may_connect(served):
    """A wrong password, none, another database, another encoding, replication: each is told why."""
    refused(served, 'password authentication failed for user "sqlrag"', password=f"{SECRET}x")
    refused(served, "no password supplied|fe_sendauth", password="")
    refused(served, 'database "other" does not exist: this server offers "passages"', dbname="other")
    refused(served, "client_encoding cannot be 'LATIN1'", client_encoding="LATIN1")
    refused(served, "replication is not offered", replication="database")
    refused(served, "server does not support SSL", sslmode="require")
    with served.connect(user="anybody", options="-c statement_timeout=50") as client:
        assert client.execute("SHOW statement_timeout").fetchone() == ("50",)
        assert code_of(client, ENDLESS[served.engine]) == "57014"


def test_it_listens_on_this_machine_alone(served):
    """No other address of the machine answers."""
    with open(f"/proc/{served.process.pid}/net/tcp") as table:
        local = [line.split()[1] for line in table if line.split()[3] == "0A"]
    assert [address for address in local if int(address[-4:], 16) == served.port] == [f"0100007F:{served.port:04X}"]


def test_a_password_is_made_where_none_is_given(passage_files, monkeypatch):
    """It is printed once; one that is too short is refused; a port that is taken, too."""
    from sqlrag.cli.serve_database import PASSWORD

    monkeypatch.delenv(PASSWORD, raising=False)
    with serving(passage_files["sqlite"], "sqlite", password=None) as served:
        assert len(served.password) > 30
        with served.connect(password=served.password) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
        for options, environment, words in (
            (["--port", str(served.port)], {}, f"port {served.port}: "),
            ([], {PASSWORD: "short"}, "is no password"),
            (["--certificate", os.devnull], {}, "no certificate|--certificate|PEM"),
        ):
            command = [sys.executable, "-m", "sqlrag", "serve", str(passage_files["sqlite"]), "--postgres", *options]
            ran = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, **environment}, check=False, timeout=60
            )
            assert ran.returncode in (1, 2)
            assert len(ran.stderr.splitlines()) == 1, ran.stderr
            assert any(word in ran.stderr for word in words.split("|")), ran.stderr
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(timeout=20) == 0
        assert served.process.stderr.read() == ""


def test_tls(passage_files, tmp_path):
    """With a certificate there is TLS, which the client can verify, and nothing else."""
    pem = certificate(tmp_path)
    with serving(passage_files["sqlite"], "sqlite", "--certificate", str(pem)) as served:
        with served.connect(sslmode="verify-ca", sslrootcert=str(pem)) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
            assert client.pgconn.ssl_in_use
        refused(served, "connections with TLS alone: sslmode=require", sslmode="disable")
        # What comes before TLS has begun must not be read as if it came inside of it.
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as plain:
            plain.sendall(struct.pack("!ii", 8, 80877103) + startup())
            assert plain.recv(1) == b"S"
            context = ssl.create_default_context(cafile=str(pem))
            with pytest.raises((ssl.SSLError, OSError)):
                context.wrap_socket(plain, server_hostname="localhost")


def certificate(folder):
    """Return a file with a key and a certificate for localhost."""
    key, cert, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not here")
    both.write_text(key.read_text() + cert.read_text())
    return both


def startup(**said) -> bytes:
    """Return a first message."""
    said = {"user": "x", "database": "passages"} | said
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in said.items()) + b"\0"
    return struct.pack("!ii", len(body) + 8, 196608) + body


def test_nothing_can_be_written_or_reached(client, engine, tmp_path):
    """Writes, other files, settings: each is refused as read-only or not offered, and changes nothing."""
    writes = [
        "DELETE FROM chunks",
        "CREATE TABLE t (x INTEGER)",
        "UPDATE documents SET title = 'x'",
        "DROP TABLE chunks",
    ]
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for sql in (*writes, *FORBIDDEN[engine]):
        if sql.startswith(("SET", "RESET", "SAVEPOINT", "PREPARE")):
            continue  # the server's own, below
        code = code_of(client, sql.format(folder=tmp_path).replace("%", "%%"))
        assert code in ("25006", "0A000", "42000", "42P01", "42883", "42601", "22023"), (sql, code)
    for sql in writes:
        assert code_of(client, sql) == "25006"
    assert client.execute("SELECT count(*) FROM chunks").fetchone() == (25,)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["secret.csv"]
    assert code_of(client, "BEGIN READ WRITE") == "25006"
    assert code_of(client, "SET transaction_read_only = off") == "25006"
    assert code_of(client, "SELECT * FROM pg_class, read_csv('/etc/passwd')") in ("25006", "42000", "42P01")
    assert code_of(client, "CREATE TABLE pg_class (x int)") == "25006"
    for sql in (
        "COPY chunks TO STDOUT",
        "COPY chunks FROM STDIN",
        "LISTEN x",
        "DECLARE c CURSOR FOR SELECT 1",
        "PREPARE p AS SELECT 1",
    ):
        assert code_of(client, sql) == "0A000"


def test_errors_have_their_codes(client):
    """A program can tell them apart; each is one line, and the session goes on."""
    for sql, params, code in (
        ("SELECT * FROM nope", None, "42P01"),
        ("SELECT nope FROM chunks", None, "42703"),
        ("SELECT nope(1)", None, "42883"),
        ("SELEC 1", None, "42601"),
        ("SELECT * FROM vector_top_k('nope', 'x', 5)", None, "42704"),
        ("SELECT * FROM vector_top_k('chunks', 'x', 0)", None, "22023"),
        ("SELECT * FROM search('chunks', 'x', 5, 5, 'nope = 1')", None, "42601"),
        ("SELECT embed('x', 'nope')", None, "42704"),
        ("SELECT * FROM pg_catalog.pg_nope", None, "42P01"),
        ("SHOW nope", None, "42704"),
        ("SET client_encoding = 'LATIN1'", None, "22023"),
        ("SELECT %s::int", ("x",), "22P02"),
    ):
        with pytest.raises(psycopg.Error) as caught:
            client.execute(sql, params)
        assert (caught.value.sqlstate, "\n" in caught.value.diag.message_primary) == (code, False), (sql, caught.value)
    assert client.execute("SELECT 1").fetchone() == (1,)


def test_every_error_has_a_code():
    """Also those that are added: none is an internal error."""
    from sqlrag import errors

    kinds = [getattr(errors, name) for name in errors.__all__]
    for kind in kinds:
        if issubclass(kind, errors.Error) and kind is not errors.Error:
            assert sqlstate(kind("x")) != "XX000", kind
    assert sqlstate(RuntimeError("x")) == "XX000"


def test_a_runaway_statement_is_stopped(hasty, engine):
    """By the time that the client has set, and the session goes on; in the catalog as well."""
    for sql in (
        ENDLESS[engine],
        "SELECT count(*) FROM pg_type, range(1000000000) AS a(x), range(1000) AS b(y) WHERE x + y = 7",
    ):
        started = time.monotonic()
        assert code_of(hasty, sql) == "57014"
        assert 0.8 < time.monotonic() - started < 10
    assert hasty.execute("SELECT 1").fetchone() == (1,)


def test_a_statement_is_cancelled(client, engine):
    """By who has its key, at once; nobody else is stopped, and a cancel of nothing does nothing."""
    client.cancel_safe(timeout=10)
    timer = threading.Timer(0.4, client.cancel_safe)
    timer.start()
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled, match="user request"):
        client.execute(ENDLESS[engine])
    assert time.monotonic() - started < 2.5
    timer.join()
    assert client.execute("SELECT 1").fetchone() == (1,)


def test_a_wrong_key_cancels_nothing(served, hasty, engine):
    """The key is secret."""
    number = struct.pack("!i", hasty.pgconn.backend_pid)
    for key in (b"\0\0\0\0", b"", b"\0" * 8):
        with socket.create_connection(("127.0.0.1", served.port)) as other:
            other.sendall(struct.pack("!ii", 12 + len(key), 80877102) + number + key)
            assert other.recv(1) == b""
    with pytest.raises(psycopg.errors.QueryCanceled, match="stopped after"):
        hasty.execute(ENDLESS[engine])


def test_a_huge_result_is_streamed(served, client, engine):
    """Rows go out as they are made: the server holds none of them, and a client may stop."""
    many = {"sqlite": ENDLESS["sqlite"].replace("count(*)", "i"), "duckdb": "SELECT i FROM range(10000000000) AS n(i)"}
    before = memory(served)
    rows = client.cursor().stream(many[engine], size=100)
    assert [next(rows)[0] for _ in range(50_000)][-1] >= 49_999
    client.cancel_safe(timeout=10)
    with contextlib.suppress(psycopg.Error):
        for _ in rows:
            pass
    assert client.execute("SELECT 1").fetchone() == (1,)
    with served.connect() as gone:  # one that goes in the middle
        next(gone.cursor().stream(many[engine]))
        gone.pgconn.finish()
    assert memory(served) - before < 150


def memory(served) -> float:
    """Return the server's resident memory in MB."""
    with open(f"/proc/{served.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_portals_with_a_row_limit(served, engine):
    """A fetch size: rows in parts, another statement between them, and no memory for what nobody fetches."""
    raw = Raw(served)
    raw.send(b"Q", b"BEGIN\0")
    assert raw.kinds() == "CZ"
    rows = "SELECT i FROM range(10) AS n(i)" if engine == "duckdb" else "SELECT id FROM chunks LIMIT 10"
    raw.parse("a", rows)
    raw.send(b"B", b"p\0a\0\0\0\0\0\0\0")
    raw.execute("p", 4)
    raw.send(b"S")
    assert raw.kinds() == "12DDDDsZ"
    raw.send(b"Q", b"SELECT 1\0")
    assert raw.kinds() == "TDCZ"
    raw.execute("p", 4)
    raw.execute("p", 4)
    raw.send(b"S")
    assert raw.kinds() == "DDDDsDDCZ"
    raw.send(b"Q", b"COMMIT\0")
    assert raw.kinds() == "CZ"
    raw.execute("p", 4)
    raw.send(b"S")
    assert raw.kinds() == "EZ"  # the portal has ended with the transaction
    raw.close()


def test_a_portal_that_is_left_over(servers):
    """DuckDB's connection has one result: of a suspended one so many rows are kept, and the server's memory is not."""
    raw = Raw(servers["duckdb"])
    raw.send(b"Q", b"BEGIN\0")
    assert raw.kinds() == "CZ"
    raw.parse("", "SELECT i FROM range(10000000000) AS n(i)")
    raw.send(b"B", b"p\0\0\0\0\0\0\0\0")
    raw.execute("p", 2)
    raw.send(b"S")
    assert raw.kinds() == "12DDsZ"
    before = memory(servers["duckdb"])
    raw.send(b"Q", b"SELECT 1\0")
    assert raw.kinds() == "TDCZ"
    raw.execute("p", 2)
    raw.send(b"S")
    assert raw.kinds() == "EZ"
    assert memory(servers["duckdb"]) - before < 150
    raw.close()


def test_it_is_stopped_in_the_middle(engine, passage_files):
    """Ctrl-C ends the server, whatever its clients do, and prints nothing."""
    with serving(passage_files[engine], engine, "--time-limit", "60") as served, served.connect() as busy:
        asking = threading.Thread(target=lambda: code_of(busy, ENDLESS[engine]))
        asking.start()
        time.sleep(0.5)
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(timeout=20) == 0
        asking.join()
        assert served.process.stderr.read() == ""


def test_recovery_in_the_extended_protocol(served):
    """After an error all is left out up to Sync, then all is as before; prepared statements stay."""
    raw = Raw(served)
    raw.parse("good", "SELECT 1")
    raw.parse("bad", "SELECT nope FROM chunks")
    raw.send(b"B", b"\0bad\0\0\0\0\0\0\0")
    raw.send(b"D", b"P\0")
    raw.execute("", 0)
    raw.parse("never", "SELECT 2")
    raw.send(b"S")
    assert raw.kinds() == "112EZ"
    raw.send(b"B", b"\0never\0\0\0\0\0\0\0")
    raw.send(b"S")
    assert raw.kinds() == "EZ"
    raw.send(b"B", b"\0good\0\0\0\0\0\0\0")
    raw.execute("", 0)
    raw.send(b"C", b"Sgood\0")
    raw.send(b"S")
    assert raw.kinds() == "2DC3Z"
    raw.send(b"Q", b" ; -- nothing\0")
    assert raw.kinds() == "IZ"
    raw.send(b"Q", b"SELECT 1; SELECT nope; SELECT 2\0")
    assert raw.kinds() == "TDCEZ"
    raw.send(b"c")
    raw.send(b"F", b"\0\0\0\0")
    assert raw.kinds() == "EZ"
    raw.send(b"~", b"what?")
    assert raw.kinds() == "E"
    assert raw.socket.recv(1) == b""


class Raw:
    """A client that says what it likes, let in by psycopg."""

    def __init__(self, served) -> None:
        self.client = served.connect()
        self.socket = socket.socket(fileno=os.dup(self.client.fileno()))
        self.socket.settimeout(20)

    def send(self, kind: bytes, body: bytes = b"") -> None:
        """Send a message."""
        self.socket.sendall(struct.pack("!cI", kind, len(body) + 4) + body)

    def parse(self, name: str, sql: str) -> None:
        """Prepare a statement."""
        self.send(b"P", f"{name}\0{sql}\0".encode() + b"\0\0")

    def execute(self, portal: str, limit: int) -> None:
        """Execute a portal."""
        self.send(b"E", portal.encode() + b"\0" + struct.pack("!i", limit))

    def kinds(self) -> str:
        """Return the kinds of the messages up to ReadyForQuery, or the end."""
        kinds, data = "", b""
        while not kinds.endswith("Z"):
            while len(data) < 5 or len(data) < 1 + struct.unpack("!I", data[1:5])[0]:
                got = self.socket.recv(65536)
                if not got:
                    return kinds
                data += got
            kinds += data[:1].decode()
            data = data[1 + struct.unpack("!I", data[1:5])[0] :]
            if kinds.endswith("E") and not data and self._gone():
                return kinds
        return kinds

    def _gone(self) -> bool:
        try:
            self.socket.settimeout(1)
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(20)

    def close(self) -> None:
        """Go."""
        self.socket.close()
        self.client.close()


def test_transactions(served):
    """BEGIN and COMMIT are taken; after an error nothing but their end, as drivers expect."""
    with served.connect(autocommit=False) as client:
        assert client.info.transaction_status == 0
        client.execute("SELECT 1")
        assert client.info.transaction_status == 2
        with client.transaction():
            assert client.execute("SELECT 2").fetchone() == (2,)
        client.rollback()
        assert code_of(client, "SELECT nope FROM chunks") == "42703"
        assert client.info.transaction_status == 3
        assert code_of(client, "SELECT 1") == "25P02"
        client.rollback()
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_what_drivers_set(client):
    """SET, SHOW and RESET keep what they are given, and SET tells of what the client watches."""
    client.execute("SET application_name = 'a report'; SET extra_float_digits = 3; SET TIME ZONE 'UTC'; DISCARD ALL")
    client.execute("SET application_name TO 'mine'")
    assert client.info.parameter_status("application_name") == "mine"
    assert client.execute("SHOW application_name").fetchone() == ("mine",)
    client.execute("RESET ALL")
    assert client.execute("SHOW transaction isolation level").fetchone() == ("read committed",)
    assert client.info.server_version == 150000


def test_parameters_of_many_types(client, engine):
    """Dates, numbers, lists and truth values as parameters, as the engine has them."""
    day = dt.date(2024, 2, 29)
    row = client.execute("SELECT %s, %s, %s", (day, True, [1, 2])).fetchone()
    assert row == ((str(day), 1, "[1, 2]") if engine == "sqlite" else (day, True, [1, 2]))
    assert client.execute("SELECT %s", ("{😀}",)).fetchone() == ("{😀}",)
    assert code_of(client, "SELECT 1 WHERE 1 = :q") in ("22023", "42601")


def test_sixteen_clients_at_once(served, engine, passage_files):
    """Each gets its own answers, and all of them come."""
    few = STATEMENT.replace("25", "5")
    statement = few.format(q="%(q)s")
    with sqlrag.connect(passage_files[engine], read_only=True) as db:
        questions = [f"{QUESTION} {number}" for number in range(16)]
        sql = few.format(q=":q")
        expected = {question: [row[0] for row in db.execute(sql, {"q": question})] for question in questions}
    wrong: list[str] = []

    def ask(number: int) -> None:
        try:
            with served.connect() as client:
                for turn in range(3):
                    question = questions[(number + turn) % 16]
                    found = [row[0] for row in client.execute(statement, {"q": question}).fetchall()]
                    wrong.extend([question] if found != expected[question] else [])
        except psycopg.Error as error:
            wrong.append(str(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_slow_statement_keeps_nobody_waiting(served, engine):
    """Another client is answered meanwhile."""
    with served.connect() as busy:
        slow = threading.Thread(target=lambda: code_of(busy, ENDLESS[engine]))
        slow.start()
        time.sleep(0.3)
        with served.connect() as other:
            assert other.execute("SELECT count(*) FROM chunks").fetchone() == (25,)
        assert slow.is_alive()
        busy.cancel_safe(timeout=10)
        slow.join()


def test_too_many_clients(passage_files):
    """One more than the limit is told so, and there is room when one goes; none has more time than the server's."""
    with serving(passage_files["sqlite"], "sqlite", "--time-limit", "2") as served, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(CONNECTIONS)]
        refused(served, "as many clients as this server takes")
        clients[1].execute("SET statement_timeout = '1h'")
        assert code_of(clients[1], ENDLESS["sqlite"]) == "57014"
        clients[0].close()
        for _ in range(50):
            with contextlib.suppress(psycopg.OperationalError), served.connect() as client:
                assert client.execute("SELECT 1").fetchone() == (1,)
                break
            time.sleep(0.1)
        else:
            pytest.fail("there was no room again")


def test_prepared_statements_are_given_up(served):
    """A driver that prepares ever new statements, and forgets the old ones, never meets the limit of a session."""
    with served.connect() as client:
        client.prepare_threshold, client.prepared_max = 0, 10
        for number in range(1_200):
            assert client.execute(f"SELECT %s + {number}", (1,)).fetchone() == (number + 1,)
        client.execute("DEALLOCATE ALL")
