"""Clients without a token: half-open, silent, more of them than descriptors; and a log that nobody reads."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import httpx2
import pytest

from sqlrag.process.descriptors import accepted
from sqlrag.process.stderr import LINES, LONGEST_LINE

pytestmark = pytest.mark.slow

COMMANDS = {"http": ["serve", "{}", "--http"], "mcp": ["mcp", "{}", "--http"]}

# Of few descriptors and little patience, so that a test need not open thousands of connections and wait for long.
BEGIN = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors}, {descriptors}))
from sqlrag.serve import loopback
loopback._PATIENCE.update(head={seconds}, body={seconds}, answer={seconds})
from sqlrag.cli import main
main()
"""

DESCRIPTORS = 90

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@dataclass
class Server:
    """A server, and how to ask it with its token."""

    process: subprocess.Popen
    kind: str
    port: int
    token: str

    def connect(self, sent: bytes = b"") -> socket.socket:
        """Open a connection, and send some bytes."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(sent)
        return connection

    def answers(self) -> bool:
        """Tell whether a client with the token is answered."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json, text/event-stream"}
        url = f"http://127.0.0.1:{self.port}"
        if self.kind == "http":
            answer = httpx2.get(f"{url}/describe", headers=headers, timeout=60)
        else:
            answer = httpx2.post(f"{url}/mcp", json=LIST, headers=headers, timeout=60)
        return answer.status_code == 200

    def end(self, presses: int = 1) -> int:
        """Press Ctrl-C, and return the exit status."""
        for _ in range(presses):
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextlib.contextmanager
def served(kind, path, *options, descriptors=DESCRIPTORS, seconds=20, stderr=subprocess.DEVNULL):
    """Start a server in a process of its own."""
    arguments = [argument.format(path) for argument in COMMANDS[kind]]
    code = BEGIN.format(descriptors=descriptors, seconds=seconds)
    command = [sys.executable, "-c", code, *arguments, "--port", "0", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, encoding="utf-8") as process:
        try:
            told = json.loads(process.stdout.readline())
            yield Server(process, kind, int(told["url"].split(":")[2].split("/")[0]), told["token"])
        finally:
            process.kill()


@pytest.fixture(params=COMMANDS, scope="module")
def kind(request):
    """Each server in turn."""
    return request.param


@pytest.fixture(scope="module")
def impatient(kind, passage_files):
    """A server that waits half a second for what is to come."""
    with served(kind, passage_files["sqlite"], seconds=0.5) as server:
        yield server


def is_closed(connection):
    """Tell whether the server has ended a connection."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(1000):
            pass
    return True


@pytest.mark.parametrize("sent", [b"", b"GET /describe HTT", b"\0" * 3], ids=["silent", "half a head", "no HTTP"])
def test_x2_more_connections_than_descriptors(kind, passage_files, full_pipe, sent):
    """Who has the token is answered meanwhile and after, though nobody reads the log, and Ctrl-C ends the server."""
    with served(kind, passage_files["sqlite"], stderr=full_pipe) as server, contextlib.ExitStack() as held:
        assert server.answers()
        for _ in range(2 * DESCRIPTORS):
            held.enter_context(server.connect(sent))
        assert server.answers()
        held.close()
        assert server.answers()
        assert server.end() in {130, -signal.SIGINT}


def test_x2_a_flood_is_no_log(kind, passage_files):
    """What strangers do is some lines at most."""
    with served(kind, passage_files["sqlite"], stderr=subprocess.PIPE) as server, contextlib.ExitStack() as held:
        for _ in range(2 * DESCRIPTORS):
            held.enter_context(server.connect(b"GET / HTTP/1.1\r\n"))
        assert server.answers()
        server.end()
        assert len(server.process.stderr.read()) < 1000


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /sql HTTP/1.1\r\nHost: x\r\n",
        b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"GET /describe HTTP/1.1\r\nHost: x\r\n\r\nGET",
    ],
    ids=["silent", "head", "body", "second head"],
)
def test_x2_what_does_not_come_ends_the_connection(impatient, sent):
    """A head or a body that is not sent to its end, be it that a byte comes now and then."""
    with impatient.connect(sent) as connection:
        dripping = threading.Event()

        def drip():
            with contextlib.suppress(OSError):
                while not dripping.wait(0.2):
                    connection.sendall(b"a")

        if sent:
            threading.Thread(target=drip, daemon=True).start()
        assert is_closed(connection)
        dripping.set()
        assert impatient.answers()


def test_x2_an_answer_that_is_not_read(impatient):
    """The owner's own client that asks and asks and reads nothing gives its descriptor back, too."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect(("127.0.0.1", impatient.port))
        connection.setblocking(False)
        lines = [f"Host: 127.0.0.1:{impatient.port}", f"Authorization: Bearer {impatient.token}", "", ""]
        body = "" if impatient.kind == "http" else json.dumps(LIST)
        if impatient.kind == "http":
            lines = ["GET /openapi.json HTTP/1.1", *lines]
        else:
            accepted = "application/json, text/event-stream"
            kind = ["Content-Type: application/json", f"Accept: {accepted}", f"Content-Length: {len(body)}"]
            lines = ["POST /mcp HTTP/1.1", *kind, *lines]
        request = ("\r\n".join(lines) + body).encode() * 100
        with contextlib.suppress(ConnectionError):
            until = time.monotonic() + 60
            while time.monotonic() < until:
                with contextlib.suppress(BlockingIOError):
                    connection.send(request)
            pytest.fail("the connection is still there")
    assert impatient.answers()


def test_x2_an_owner_goes_before_strangers(passage_files):
    """A connection whose question runs is not the one that gives way."""
    slow = {"statement": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"}
    with served("http", passage_files["sqlite"], "--time-limit", "2") as server, contextlib.ExitStack() as held:
        statuses = []
        headers = {"Authorization": f"Bearer {server.token}"}
        url = f"http://127.0.0.1:{server.port}/sql"

        def ask():
            statuses.append(httpx2.post(url, json=slow, headers=headers, timeout=60).status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        for _ in range(2 * DESCRIPTORS):
            held.enter_context(server.connect(b"GET"))
        asking.join()
        assert statuses == [408]


@pytest.mark.parametrize("presses", [1, 2])
def test_x2_ctrl_c_ends_the_server_whatever_runs(kind, passage_files, presses):
    """A statement that nothing can stop, a half-open connection and a full queue keep nobody."""
    sql = "SELECT length(replace(hex(zeroblob(7000000)), hex(zeroblob(3500000)) || '1', 'b')) AS n"
    with served(kind, passage_files["sqlite"], "--time-limit", "600") as server, server.connect(b"GET"):
        headers = {"Authorization": f"Bearer {server.token}", "Accept": "application/json, text/event-stream"}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        call["params"] = {"name": "sql", "arguments": {"statement": sql}}
        body, path = (call, "/mcp") if kind == "mcp" else ({"statement": sql}, "/sql")
        url = f"http://127.0.0.1:{server.port}{path}"
        for _ in range(3):
            with contextlib.suppress(httpx2.TimeoutException):
                httpx2.post(url, json=body, headers=headers, timeout=0.3)
        assert server.end(presses) in {130, -signal.SIGINT}


NOISE = """
import contextlib, logging, os, sys
from sqlrag.process.stderr import bound
bound()
for number in range(20_000):
    logging.error("%d %s", number, "x" * 5_000)
for _ in range(1_000):
    print("x" * 1_000, file=sys.stderr)
with contextlib.suppress(BlockingIOError):
    os.write(2, b"from a library\\n" * 1_000)
print("done", flush=True)
sys.exit("the end")
"""


def test_x2_a_log_that_nobody_reads(full_pipe):
    """Loggers, libraries and the end of the process wait for nobody."""
    ran = subprocess.run(
        [sys.executable, "-c", NOISE], stdout=subprocess.PIPE, stderr=full_pipe, text=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.returncode) == ("done\n", 1)


def test_x2_a_log_is_bounded():
    """Lines are cut, and beyond a number left out; how many is said."""
    ran = subprocess.run([sys.executable, "-c", NOISE], capture_output=True, text=True, timeout=60, check=False)
    lines = ran.stderr.splitlines()
    assert LINES <= len(lines) < LINES + 100
    assert max(map(len, lines)) == LONGEST_LINE
    assert lines[0].startswith("ERROR:root:0 xxx")
    assert "lines were left out here" in lines[-1]


def test_x2_the_end_of_a_log_is_not_lost():
    """What a process says last is there, its traceback too."""
    code = (
        "from sqlrag.process.stderr import bound; bound(); print('a' * 9, end='', file=__import__('sys').stderr); 1 / 0"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stderr.startswith("aaaaaaaaaTraceback")
    assert "ZeroDivisionError" in ran.stderr.splitlines()[-1]


class Failing:
    """A listener whose accept fails."""

    def __init__(self, code: int) -> None:
        self.code = code

    def accept(self):
        raise OSError(self.code, os.strerror(self.code))


def test_x2_accepting_waits_where_the_system_has_nothing_to_give(monkeypatch):
    """The listener stays readable, so a loop that asked at once would be busy; one that is closed is an error."""
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    for code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
        assert accepted(Failing(code)) is None
    assert len(waited) == 4
    assert accepted(Failing(errno.ECONNABORTED)) is None
    assert len(waited) == 4
    with pytest.raises(OSError, match="Bad file descriptor"):
        accepted(Failing(errno.EBADF))


def test_x2_there_is_room_for_as_many_clients_as_descriptors():
    """The limit is raised as far as the system allows, and something is left for the server itself."""
    code = (
        "import resource; from sqlrag.process.descriptors import room; limit = resource.setrlimit; "
        "limit(resource.RLIMIT_NOFILE, (64, 200)); print(room(1000), room(10), room(1000, 3), "
        "resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    most, few, of_three, limit = map(int, ran.stdout.split())
    assert 100 < most < 190
    assert (few, of_three, limit) == (10, most // 3, 200)
