"""Who may connect, how much they may ask, and how the server ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

import pytest

from sqlrag.errors import ServerError
from sqlrag.serve.model_server.channel import Channel, Gone
from sqlrag.serve.model_server.client import Client
from sqlrag.serve.model_server.protocol import VERSION, Frame, as_row, as_table, read_row
from sqlrag.serve.model_server.server import MOST_CLIENTS
from sqlrag.serve.model_server.session import DEEPEST
from sqlrag.serve.model_server.socket_path import check_folder, socket_path
from tests.serve.clients import client_of, serving


def raw(path):
    """Return a channel to a server that has not been greeted."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return Channel(connection)


def greeted(path, *more):
    """Return a channel to a server that has said welcome."""
    channel = raw(path)
    channel.send(Frame.HELLO, as_row([VERSION, "test", None, *more]))
    assert channel.receive(5)[0] == Frame.WELCOME
    return channel


def refusal(channel):
    """Return what the server says before it closes."""
    kind, body = channel.receive(5)
    assert kind == Frame.ERROR
    name, message = read_row(body)
    assert name == "ServerError"
    with pytest.raises(Gone):
        channel.receive(5)
    channel.close()
    return message


# Who may connect


def test_the_socket_is_the_users_alone(server):
    """Mode 0600 in a folder of mode 0700."""
    assert stat.S_IMODE(os.stat(server).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(server.parent).st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o701, 0o750, 0o777])
def test_a_folder_that_others_can_enter(free_socket, mode):
    """Neither a server nor a client uses it."""
    free_socket.parent.chmod(mode)
    for use in (lambda: check_folder(free_socket, make=True), lambda: Client(free_socket, "test")):
        with pytest.raises(ServerError, match=f"can be entered by others .mode 0{mode:o}.: chmod 700"):
            use()


def test_a_folder_that_is_a_link(free_socket, tmp_path):
    """It may lead anywhere, so it is not followed."""
    link = tmp_path / "link"
    link.symlink_to(free_socket.parent)
    with pytest.raises(ServerError, match="symbolic link"):
        check_folder(link / "s.sock", make=True)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user(free_socket):
    """Whoever owns it could put another socket there."""
    os.chown(free_socket.parent, 12345, -1)
    with pytest.raises(ServerError, match="belongs to another user"):
        check_folder(free_socket, make=True)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become another user")
def test_a_process_of_another_user(free_socket):
    """The kernel says who is at the other end, should the folder ever let somebody in."""
    with serving(free_socket):
        free_socket.parent.chmod(0o755)
        free_socket.chmod(0o666)
        code = (
            "import os, socket, sys; os.setuid(12345); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
            "print(s.recv(1000))"
        )
        said = subprocess.run(
            [sys.executable, "-c", code, str(free_socket)], capture_output=True, text=True, check=True
        )
        assert "belongs to user 12345" in said.stdout


def test_where_the_socket_is(monkeypatch, tmp_path):
    """SQLRAG_SOCKET, the user's runtime folder, and one in /tmp."""
    assert str(socket_path()) == os.environ["SQLRAG_SOCKET"]
    monkeypatch.delenv("SQLRAG_SOCKET")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert socket_path() == tmp_path / "sqlrag" / "server-1.sock"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    assert str(socket_path()) == f"/tmp/sqlrag-{os.getuid()}/server-1.sock"


def test_a_token(free_socket, monkeypatch):
    """Where the server has one, nobody without it is served."""
    with serving(free_socket, SQLRAG_SOCKET_TOKEN="s3cret"):
        for token in (None, "wrong", "ünïcode"):
            monkeypatch.setenv("SQLRAG_SOCKET_TOKEN", token) if token else monkeypatch.delenv(
                "SQLRAG_SOCKET_TOKEN", raising=False
            )
            with pytest.raises(ServerError, match="the token is not the server's"):
                Client(free_socket, "test")
        monkeypatch.setenv("SQLRAG_SOCKET_TOKEN", "s3cret")
        Client(free_socket, "test").close()


# What they may say


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_version(server, version):
    """It is told which one the server speaks."""
    channel = raw(server)
    channel.send(Frame.HELLO, as_row([version, "test", None]))
    assert "this server speaks version 1" in refusal(channel)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (Frame.CALL, as_row(["embed", "a"]), "the first frame is HELLO"),
        (Frame.HELLO, b"", "ends in the middle"),
        (Frame.HELLO, as_row([1]), "a row of 1 values"),
        (Frame.HELLO, as_row([1, None]), "needs the client's name"),
        (Frame.HELLO, as_row([1, "test", None, -1]), "candidates is -1"),
        (Frame.HELLO, as_row([1, "test", None, None, "x"]), "rerank_limit is 'x'"),
    ],
)
def test_a_greeting_that_is_none(server, kind, body, said):
    """The connection ends with a word."""
    channel = raw(server)
    channel.send(kind, body)
    assert said in refusal(channel)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (struct.pack("<IB", 2**32 - 1, 4), "4,294,967,295 bytes"),
        (struct.pack("<IB", 1, 77), "unknown type 77"),
        (struct.pack("<IB", 1, Frame.ROWS), "ROWS that nobody asked for"),
        (struct.pack("<IBHB", 4, Frame.CALL, 1, 9), "the tag 9"),
        (struct.pack("<IB", 1, Frame.WELCOME), "WELCOME"),
    ],
)
def test_what_is_not_the_protocol(server, sent, said):
    """The connection ends with a word, and nothing else does."""
    channel = greeted(server)
    channel.socket.sendall(sent)
    assert said in refusal(channel)
    greeted(server).close()


def test_text_that_is_not_utf_8(server):
    """An error of the call, and the connection goes on."""
    channel = greeted(server)
    for body in (as_row(["token_count", "abc"]).replace(b"abc", b"\xff\xfe\xfd"), as_row(["token_count", "abc"])):
        channel.send(Frame.CALL, body)
        assert channel.receive(5)[0] in (Frame.QUERY, Frame.ERROR)
        channel.send(Frame.CANCEL)
    channel.close()


def test_too_many_clients(free_socket):
    """The one too many is told so, and the others go on."""
    with serving(free_socket):
        channels = [greeted(free_socket) for _ in range(MOST_CLIENTS)]
        assert f"{MOST_CLIENTS} clients" in refusal(raw(free_socket))
        channels.pop().close()
        channels[0].send(Frame.STATUS)
        assert channels[0].receive(5)[0] == Frame.RESULT
        for channel in channels:
            channel.close()


def test_x2_clients_that_say_nothing_give_way(free_socket):
    """More silent connections than there is room for, and than descriptors: who greets is served, before and after."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)); from sqlrag.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "serve", "--socket", str(free_socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline()
            known = greeted(free_socket)
            silent = [raw(free_socket) for _ in range(120)]
            with client_of_nothing(free_socket) as client:
                assert client.status()["clients"] <= 30
                known.send(Frame.STATUS)
                assert known.receive(30)[0] == Frame.RESULT
            for channel in silent:
                channel.close()
            with client_of_nothing(free_socket) as client:
                assert client.pid == process.pid
        finally:
            process.kill()


@contextlib.contextmanager
def client_of_nothing(path):
    """Yield a client without a database."""
    client = Client(path, "test")
    try:
        yield client
    finally:
        client.close()


def test_calls_within_calls_have_an_end(server, database):
    """A statement whose answer calls the function that asked for it is stopped, not the server."""
    with client_of(server, database) as client:
        errors = []

        def again(query):
            try:
                client.call("sqlrag_info")
            except Exception as error:
                errors.append(str(error))
                raise
            return Frame.ROWS, as_table(0, [])

        client.answer = again
        with pytest.raises(Exception, match=f"inside of {DEEPEST} other calls"):
            client.call("sqlrag_info")
        assert len(errors) == DEEPEST


def test_cancel(server):
    """A CALL that is given up ends with an error, whatever it does, and the next one is answered."""
    channel = greeted(server)
    for _ in range(3):
        channel.send(Frame.CALL, as_row(["sqlrag_info"]))
        assert channel.receive(5)[0] == Frame.QUERY
        channel.send(Frame.CANCEL)
        kind, body = channel.receive(5)
        assert (kind, read_row(body)[1]) == (Frame.ERROR, "interrupted")
    channel.send(Frame.CANCEL)  # of nothing
    channel.send(Frame.CALL, as_row(["functions"]))
    assert channel.receive(5)[0] == Frame.RESULT
    channel.close()


def test_who_leaves_in_the_middle_leaves_nothing(server, database):
    """Clients that go while their work waits are forgotten, and the others are served."""
    for _ in range(8):
        channel = greeted(server)
        channel.send(Frame.CALL, as_row(["search", "chunks", f"question {time.monotonic()}", 25, 3]))
        channel.close()
    with client_of(server, database) as client:
        assert len(client.call("search", "chunks", "volcano")) == 3
        # The others' threads may still be on their way out.
        deadline = time.monotonic() + 10
        while client.status()["clients"] > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.status()["clients"] == 1


# How it ends


def test_stop_lets_what_runs_finish(free_socket, database):
    """`stop` returns when the process has gone, and the socket with it."""
    with serving(free_socket) as process, client_of(free_socket, database) as client:
        running = greeted(free_socket)
        running.send(Frame.CALL, as_row(["sqlrag_info"]))
        kind, _ = running.receive(5)
        assert kind == Frame.QUERY
        stopping = raw(free_socket)
        stopping.send(Frame.HELLO, as_row([VERSION, "test", None]))
        stopping.send(Frame.STOP)
        assert [stopping.receive(5)[0] for _ in range(2)] == [Frame.WELCOME, Frame.RESULT]
        running.send(Frame.FAILED, as_row([1, "no such thing"]))
        kind, body = running.receive(5)
        assert (kind, read_row(body)[1]) == (Frame.ERROR, "no such thing")
        with pytest.raises(Gone):
            stopping.receive(20)
        assert process.wait(10) == 0
        assert not free_socket.exists()
        with pytest.raises(ServerError, match="broke off"):
            client.call("token_count", "a")
        running.close()
        stopping.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(free_socket, number):
    """Ctrl-C, or the system's end: no traceback, no socket left."""
    with serving(free_socket) as process:
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
        assert not free_socket.exists()


def test_x3_a_second_ctrl_c_ends_it_at_once(free_socket):
    """Whatever runs: here a call whose client does not answer what it was asked, for which half a minute is given."""
    with serving(free_socket) as process:
        running = greeted(free_socket)
        running.send(Frame.CALL, as_row(["sqlrag_info"]))
        assert running.receive(5)[0] == Frame.QUERY
        process.send_signal(signal.SIGINT)
        while free_socket.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 128 + signal.SIGINT
        running.close()


def test_x2_a_log_that_nobody_reads(free_socket, full_pipe):
    """What strangers send is told to stderr, which keeps the server from nothing; Ctrl-C neither."""
    command = [sys.executable, "-m", "sqlrag", "serve", "--socket", str(free_socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=full_pipe, text=True) as process:
        try:
            assert process.stdout.readline()
            for _ in range(20):
                channel = raw(free_socket)
                channel.socket.sendall(b"\xff" * 40)
                channel.close()
            with client_of_nothing(free_socket) as client:
                assert client.pid == process.pid
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_it_ends_when_nobody_needs_it(free_socket):
    """Also while clients are connected that say nothing."""
    with serving(free_socket, "--idle", "1") as process:
        client = Client(free_socket, "test")
        started = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - started > 0.5
        client.close()


def test_two_servers(free_socket):
    """The second one says that there is one, and does it no harm."""
    with serving(free_socket) as process:
        command = [sys.executable, "-m", "sqlrag", "serve", "--socket", str(free_socket)]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert second.stderr == f"Error: a server runs already at {free_socket}: sqlrag status, sqlrag stop\n"
        client = Client(free_socket, "test")
        assert client.pid == process.pid
        client.close()


def test_after_a_kill(free_socket):
    """What a killed server has left is nobody's, and the next one takes its place."""
    with serving(free_socket) as process:
        process.kill()
        process.wait()
        assert free_socket.exists()
        with pytest.raises(ConnectionRefusedError):
            Client(free_socket, "test")
    with serving(free_socket):
        Client(free_socket, "test").close()


def test_something_else_in_its_place(free_socket):
    """A file that is no socket is not removed."""
    free_socket.write_text("mine")
    command = [sys.executable, "-m", "sqlrag", "serve", "--socket", str(free_socket)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (1, f"Error: {free_socket} is in the way: it is no socket\n")
    assert free_socket.read_text() == "mine"
