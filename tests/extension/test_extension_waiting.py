"""Ctrl-C while the extension waits, a process that forks, and sqlite-vec from wherever the server says it is."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time

import apsw
import pytest
import sqlite_vec

from sqlrag.serve.model_server.protocol import Frame, as_table, read_row
from tests.extension.peer import Peer


@pytest.fixture
def place(short_folder, monkeypatch):
    """The path of a socket that the extension in this process goes to."""
    path = short_folder / "peer.sock"
    monkeypatch.setenv("SQLRAG_SOCKET", str(path))
    monkeypatch.setenv("SQLRAG_COMMAND", "/nowhere")
    return path


@pytest.fixture
def called():
    """Set when a peer that never answers has been called."""
    return threading.Event()


@pytest.fixture
def silent(place, called):
    """A peer that greets, and never answers a call."""

    def script(line):
        line.welcome()
        line.call()
        called.set()
        line.take()

    peer = Peer(place, script)
    yield peer
    peer.close()


def wait_until(condition) -> None:
    """Wait for a moment until something is true."""
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("statement", ["SELECT embed('x')", "SELECT * FROM search('a', 'b')"])
def test_an_interrupt(library, silent, called, statement):
    """sqlite3_interrupt() ends the waiting within a moment, and the server is told."""
    connection = apsw.Connection(":memory:")
    connection.enable_load_extension(True)
    connection.load_extension(library)

    def interrupt():
        called.wait(10)
        connection.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    started = time.monotonic()
    with pytest.raises(apsw.InterruptError):
        list(connection.execute(statement))
    thread.join()
    assert time.monotonic() - started < 2
    wait_until(lambda: silent.lines[0].heard[-1] == Frame.CANCEL)
    assert list(connection.execute("SELECT 1")) == [(1,)]
    connection.close()


def test_ctrl_c_in_the_shell(library, silent, called, sqlite3_shell):
    """Debian's SQLite has no sqlite3_is_interrupted() yet: Ctrl-C ends the waiting there, too."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sqlite3_shell, "-batch"], **pipes) as shell:
        shell.stdin.write(f".load {library}\nSELECT embed('x');\n")
        shell.stdin.flush()
        assert called.wait(10)
        shell.send_signal(signal.SIGINT)
        _, errors = shell.communicate(timeout=5)
    assert "interrupted" in errors


FORKING = """
import os, sqlite3, sys
connection = sqlite3.connect(":memory:")
connection.enable_load_extension(True)
connection.load_extension(sys.argv[1])
ask = lambda: print(*connection.execute("SELECT embed('x')").fetchone(), flush=True)
ask()
child = os.fork()
if child == 0:
    ask()
    os._exit(0)
os.waitpid(child, 0)
ask()
"""


def test_a_fork_has_a_connection_of_its_own(library, place):
    """Parent and child do not read each other's answers."""
    peers = []

    def script(line):
        line.welcome()
        while True:
            line.call()
            line.result(peers[0].lines.index(line))

    peers.append(Peer(place, script))
    done = subprocess.run(
        ["/usr/bin/python3", "-c", FORKING, library], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["0", "1", "0"]
    peers[0].close()


@pytest.mark.parametrize(("mode", "is_loaded"), [(0o644, True), (0o666, False)])
def test_vec_from_where_the_server_says(checked, tmp_path, mode, is_loaded):
    """sqlite-vec is registered before the server's first query, unless others could have written the file."""
    vec = tmp_path / "elsewhere.so"
    shutil.copy(f"{sqlite_vec.loadable_path()}.so", vec)
    vec.chmod(mode)
    alone = tmp_path / "alone"
    alone.mkdir()
    checked.library = shutil.copy(checked.library, alone / "sqlrag_extension.so")
    answers = []

    def script(line):
        line.welcome(1, "0", 1, str(vec.with_suffix("")))
        line.call()
        answers.append(line.query("SELECT vec_length(x'0000803f')"))
        line.result(1)

    checked.says(script)
    checked.run("SELECT embed('x');")
    kind, body = answers[0]
    if is_loaded:
        assert (kind, body) == (Frame.ROWS, as_table(1, [(1,)]))
    else:
        assert kind == Frame.FAILED
        assert "sqlite-vec is not loaded" in read_row(body)[1]
