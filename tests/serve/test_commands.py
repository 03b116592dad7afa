"""The commands: `serve`, `status`, `stop`, and `search` with a server, which answers as without one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

import sqlrag
from sqlrag.serve.model_server.channel import Channel
from sqlrag.serve.model_server.protocol import VERSION, Frame, as_row, as_table, query_body
from sqlrag.serve.model_server.served_database import connect_served
from tests.serve.clients import serving


def command(*arguments, path=None, code=0):
    """Run a command with a server's socket, and return what it prints."""
    environment = os.environ | ({"SQLRAG_SOCKET": str(path)} if path else {})
    ran = subprocess.run(
        [sys.executable, "-m", "sqlrag", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=100,
    )
    assert ran.returncode == code, ran.stderr
    return ran.stdout


def test_start_status_stop(free_socket):
    """In the background, twice, seen, ended, twice."""
    said = json.loads(command("serve", "--background", "--json", path=free_socket))
    assert said["socket"] == str(free_socket)
    assert json.loads(command("serve", "--background", "--json", path=free_socket)) == said
    status = json.loads(command("status", "--json", path=free_socket))
    assert (status["running"], status["pid"], status["clients"]) == (True, said["pid"], 1)
    assert f"pid: {said['pid']}" in command("status", path=free_socket)
    assert json.loads(command("stop", "--json", path=free_socket)) == {"stopped": True}
    assert command("stop", path=free_socket) == "no server runs\n"
    assert json.loads(command("status", "--json", path=free_socket, code=1)) == {"running": False}


def test_x10_started_in_the_background_eight_times_at_once(free_socket):
    """All of them succeed, with the one server that there is then."""
    arguments = [sys.executable, "-m", "sqlrag", "serve", "--background", "--json"]
    environment = os.environ | {"SQLRAG_SOCKET": str(free_socket)}
    started = [
        subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    said = [process.communicate(timeout=200) for process in started]
    try:
        assert [process.returncode for process in started] == [0] * 8, said
        assert len({json.loads(out)["pid"] for out, _ in said}) == 1
    finally:
        command("stop", path=free_socket)


def test_x10_started_in_the_background_while_another_starts(free_socket):
    """One that was started otherwise, as the extension does, is waited for and found."""
    with subprocess.Popen(
        [sys.executable, "-m", "sqlrag", "serve", "--socket", str(free_socket)], stdout=subprocess.DEVNULL
    ) as process:
        try:
            while not free_socket.with_suffix(".lock").exists():
                time.sleep(0.01)
            said = json.loads(command("serve", "--background", "--json", path=free_socket))
            assert said["pid"] == process.pid
        finally:
            process.kill()


def test_x10_a_server_that_dies_at_its_start(free_socket):
    """Those that wait for it are told, or start one themselves."""
    environment = os.environ | {"SQLRAG_SOCKET": str(free_socket), "SQLRAG_CACHE": "/nonexistent"}
    arguments = [sys.executable, "-m", "sqlrag", "serve", "--background", "--reranker", "none-such"]
    failing = [
        subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in failing:
        _, told = process.communicate(timeout=100)
        assert (process.returncode, "there is no model 'none-such'" in told) == (1, True)


def test_a_server_that_cannot_start(free_socket):
    """Its reason is the command's."""
    for more in ((), ("--background",)):
        ran = subprocess.run(
            [sys.executable, "-m", "sqlrag", "serve", "--socket", str(free_socket), "--reranker", "none-such", *more],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 1
        assert "there is no model 'none-such'" in ran.stderr
        assert ran.stderr.count("\n") == 1


SEARCHES = [
    ("search", "why do volcanoes erupt?"),
    ("search", "bees 🐝", "--top-k", "10", "--top-n", "5", "--filter", "length(text) > 50"),
    ("search", "bees", "--budget-ms", "0"),
    ("search", "bees", "--filter", "token_count(text) < 60"),
    ("compare", "how do banks make money?", "--top-k", "8"),
]


@pytest.mark.parametrize("arguments", SEARCHES, ids=lambda arguments: " ".join(arguments)[:40])
def test_search_through_the_server_is_search(server, database, arguments):
    """Every field of every hit is the same."""
    name, *rest = arguments
    through = json.loads(command(name, database, *rest, "--json", path=server))
    assert through == json.loads(command(name, database, *rest, "--json"))


TWO_STAGES = """
    SELECT c.id, c.text, rerank_score(:q, c.text) AS score, token_count(c.text) AS tokens
    FROM vector_top_k('chunks', embed(:q), 25) AS hit JOIN chunks AS c ON c.id = hit.id
    ORDER BY score DESC LIMIT 3
"""


@pytest.mark.parametrize(
    "statement",
    [TWO_STAGES, "SELECT * FROM sqlrag_info()", "SELECT hex(embed(:q)) FROM chunks LIMIT 3", "SELECT embed(NULL)"],
)
def test_sql_through_the_server_is_sql(server, database, statement):
    """Every value of every row is the same."""
    arguments = ("sql", database, statement, "-p", "q=why do volcanoes erupt?", "--json")
    assert json.loads(command(*arguments, path=server)) == json.loads(command(*arguments))


def test_writing_with_the_servers_models(server, database, tmp_path, monkeypatch):
    """Vectors go into a table of the user's, in a transaction that is rolled back, and in one that is not."""
    copy = tmp_path / "copy.db"
    copy.write_bytes(database.read_bytes())
    monkeypatch.setenv("SQLRAG_SOCKET", str(server))
    with connect_served(str(copy), read_only=False) as db:
        db.execute("CREATE TABLE own AS SELECT id, embed_document(text) AS vector FROM chunks WHERE id < 9").fetchall()
        db.execute("BEGIN; DELETE FROM own; INSERT INTO own SELECT 1, embed('a'); ROLLBACK").fetchall()
        assert db._engine.encoders.models.is_connected
    with sqlrag.connect(copy) as db:
        sql = "SELECT count(*), sum(vector = embed_document(text)) FROM own JOIN chunks USING (id)"
        assert db.execute(sql).fetchall() == [(8, 8)]


def test_interrupt_ends_what_the_server_does(server, database, monkeypatch):
    """The statement ends long before its pairs are scored, and the next one is answered by the same server."""
    monkeypatch.setenv("SQLRAG_SOCKET", str(server))
    with connect_served(str(database)) as db:
        sql = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
            "SELECT sum(rerank_score('q' || i, text)) FROM n, chunks"
        )
        timer = threading.Timer(1, db.interrupt)
        timer.start()
        with pytest.raises(sqlrag.Error, match=r"(?i)interrupt"):
            db.execute(sql).fetchall()
        assert len(db.search("volcano")) == 3
        assert db._engine.encoders.models.is_connected


def test_a_search_through_the_server_loads_no_model(server, database):
    """Nor anything else that is slow to import."""
    code = (
        "import sys; from sqlrag.serve.model_server.served_database import connect_served\n"
        f"with connect_served({str(database)!r}) as db: assert len(db.search('volcano')) == 3\n"
        "print(' '.join(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"SQLRAG_SOCKET": str(server)},
    )
    heavy = {"onnxruntime", "numpy", "duckdb", "pyarrow", "tokenizers", "torch", "rich"}
    assert heavy.isdisjoint(ran.stdout.split())


def test_another_reranker_is_not_the_servers(server, database, monkeypatch):
    """What is asked for decides, not what happens to run."""
    monkeypatch.setenv("SQLRAG_SOCKET", str(server))
    with connect_served(str(database)) as db, connect_served(str(database), reranker="reranker-v1") as other:
        assert type(db._engine.encoders).__name__ == "RemoteEncoders"
        assert type(other._engine.encoders).__name__ == "Encoders"


def test_a_server_that_dies(free_socket, database, monkeypatch):
    """The connection's own models go on, with the same hits."""
    monkeypatch.setenv("SQLRAG_SOCKET", str(free_socket))
    with serving(free_socket) as process, connect_served(str(database)) as db:
        before = db.search("volcano")
        process.kill()
        process.wait()
        assert db.search("volcano") == before
        assert len(db.search("bees")) == 3


def lying(path, after_welcome):
    """Start a server that welcomes, says what a status says, and then `after_welcome`, and is silent."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    taken = []

    def serve():
        connection, _ = listening.accept()
        channel = Channel(connection)
        taken.append(channel)
        channel.receive(5)
        channel.send(Frame.WELCOME, as_row([VERSION, sqlrag.__version__, 1, ""]))
        channel.receive(5)
        channel.send(Frame.RESULT, as_table(2, [("reranker", None)]))
        while channel.receive(20)[0] != Frame.CALL:
            pass
        connection.sendall(after_welcome)
        connection.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            connection.recv(1 << 16)

    threading.Thread(target=serve, daemon=True).start()
    return listening


def frame(kind, body):
    """Return the bytes of a frame."""
    return (len(body) + 1).to_bytes(4, "little") + bytes([kind]) + body


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"\xff" * 40,
        frame(Frame.RESULT, b"\1"),
        frame(Frame.WELCOME, as_row([])),
        frame(Frame.QUERY, query_body("DROP TABLE chunks", None)),
        frame(Frame.QUERY, query_body("CREATE TEMP TABLE a (b)", None)),
        frame(Frame.QUERY, as_row(["SELECT 1", 5])),
        frame(Frame.ERROR, as_row(["KeyboardInterrupt", "no"])),
        frame(Frame.RESULT, as_table(1, [])),
        frame(Frame.RESULT, as_table(1, [(b"short",)])),
        frame(Frame.RESULT, as_table(1, [(0.5,)])),
        frame(Frame.RESULT, as_table(2, [(bytes(1536), None)])),
    ],
    ids=[
        "silence",
        "noise",
        "short",
        "another frame",
        "a write",
        "a temporary one",
        "no bindings",
        "no error",
        "no vector",
        "a short one",
        "a number",
        "two columns",
    ],
)
def test_a_server_that_lies(free_socket, database, monkeypatch, lie):
    """Nothing of it reaches the database, and the search is answered all the same."""
    monkeypatch.setenv("SQLRAG_SOCKET", str(free_socket))
    with sqlrag.connect(database, read_only=True) as db:
        expected = db.search("volcano")
    with lying(free_socket, lie), connect_served(str(database)) as db:
        assert type(db._engine.encoders).__name__ == "RemoteEncoders"
        assert db.search("volcano") == expected


def test_a_server_that_never_welcomes(free_socket, database, monkeypatch):
    """Two seconds are enough to wait."""
    monkeypatch.setenv("SQLRAG_SOCKET", str(free_socket))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(free_socket))
        listening.listen()
        with connect_served(str(database)) as db:
            assert type(db._engine.encoders).__name__ == "Encoders"
