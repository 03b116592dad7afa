"""Minutes of mixed load on the servers: whether memory, descriptors, threads and latency stay as they are.

    python benchmarks/soak.py [--minutes 10] [--engine sqlite] [--write]

On each engine `sqlrag serve --http` and `--postgres`, and on SQLite the model server behind its socket, each asked by
two clients: searches with both stages, statements without a model, mistakes; every twentieth question over a connection
that is new. Most questions come again, so that the caches of scores and vectors are full after the first minute. Beside
them, strangers open connections and say nothing, half of something, or what is no protocol, and break off. A minute's
row has what was answered, what should have been answered otherwise, the time of an answer, and what the server's
processes had at the minute's end.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

import sqlrag
from sqlrag.serve.model_server.served_database import connect_served

ROOT = Path(__file__).parents[1]
PASSAGES = ROOT / "tests" / "passages.jsonl"

CLIENTS = 2
"""For each server."""

RECONNECT = 20
"""Questions of one connection."""

PAUSE = 0.05
"""Seconds between two questions of a client: a machine that is only busy shows nothing but queues."""

STRANGERS = 0.2
"""Seconds between two of them, for each server."""

HELD = 40
"""Connections of strangers that are open at a time."""

SEARCH = "SELECT text, score FROM search('chunks', {place}, 10, 3)"
PLAIN = "SELECT count(*) AS n, max(length(text)) AS longest FROM documents WHERE id > {place}"
MISTAKE = "SELECT * FROM nowhere"

Ask = Callable[[str, str], None]


@dataclass
class Load:
    """A server, and what became of the questions since the last minute."""

    name: str
    process: subprocess.Popen[str]
    connect: Callable[[], tuple[Ask, Callable[[], None]]]
    stranger: Callable[[bytes], socket.socket]
    took: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def minute(self) -> tuple[list[float], list[str]]:
        """Return the times of the answers in seconds, and what was wrong, and begin the next minute."""
        with self.lock:
            took, wrong = self.took, self.wrong
            self.took, self.wrong = [], []
        return took, wrong


def questions() -> Iterator[tuple[str, str]]:
    """Yield kinds of questions and what they are about, for ever."""
    texts = [json.loads(line)["text"].split() for line in PASSAGES.read_text(encoding="utf-8").splitlines()]
    draw = random.Random(threading.get_ident())
    for number in itertools.count():
        kind = draw.choices(("search", "plain", "mistake"), (4, 5, 1))[0]
        words = draw.choice(texts)
        start = draw.randrange(4) if number % 10 else draw.randrange(max(len(words) - 8, 1))
        yield kind, " ".join(words[start : start + 8])


def ask_for_ever(load: Load, end: threading.Event) -> None:
    """Be one client of a server."""
    asked = questions()
    while not end.is_set():
        try:
            ask, close = load.connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            load.wrong.append(f"connect: {error!r}")
            time.sleep(1)
            continue
        for kind, about in itertools.islice(asked, RECONNECT):
            began = time.perf_counter()
            try:
                ask(kind, about)
            except Exception as error:  # noqa: BLE001
                if end.is_set():
                    return
                load.wrong.append(f"{kind}: {error!r}")
                break
            with load.lock:
                load.took.append(time.perf_counter() - began)
            time.sleep(PAUSE)
        close()


def be_strange(load: Load, end: threading.Event) -> None:
    """Be the strangers of a server: silent, half, no protocol at all; the oldest go when others come."""
    draw = random.Random(7)
    held: list[socket.socket] = []
    sent = (b"", b"GET / HTTP/1.1\r\nHost", b"POST /sql HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n{",
            b"\0\0\0\x08\x04\xd2\x16\x2f", b"\0\0\0\x30\0\x03\0\0user\0", draw.randbytes(300))  # fmt: skip
    while not end.wait(STRANGERS):
        with suppress(OSError):
            held.append(load.stranger(draw.choice(sent)))
        if len(held) > HELD or draw.random() < 0.3:
            with suppress(OSError, IndexError):
                held.pop(0).close()
    for connection in held:
        connection.close()


def over_http(url: str, token: str) -> tuple[Ask, Callable[[], None]]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(kind: str, about: str) -> None:
        body = {"search": {"question": about, "top_k": 10}, "plain": {"statement": PLAIN.format(place=":x")}}.get(
            kind, {"statement": MISTAKE}
        )
        if kind == "plain":
            body["params"] = {"x": len(about) % 10}
        connection.request("POST", "/search" if kind == "search" else "/sql", json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != (422 if kind == "mistake" else 200):
            raise AssertionError(answer.status)

    return ask, connection.close


def over_postgres(url: str, password: str) -> tuple[Ask, Callable[[], None]]:
    connection = psycopg.connect(url, password=password, autocommit=True, connect_timeout=60)

    def ask(kind: str, about: str) -> None:
        if kind == "mistake":
            with suppress(psycopg.Error):
                connection.execute(MISTAKE)
                raise AssertionError(kind)
            return
        sql, value = (SEARCH, about) if kind == "search" else (PLAIN, len(about) % 10)
        rows = connection.execute(sql.format(place="%s"), [value]).fetchall()
        if len(rows) != (3 if kind == "search" else 1):
            raise AssertionError(rows)

    return ask, connection.close


def over_the_socket(path: Path, database: Path) -> tuple[Ask, Callable[[], None]]:
    os.environ["SQLRAG_SOCKET"] = str(path)
    db = connect_served(str(database))

    def ask(kind: str, about: str) -> None:
        if kind == "mistake":
            with suppress(sqlrag.Error):
                db.search(about, "nowhere")
                raise AssertionError(kind)
            return
        rows = db.search(about, top_k=10) if kind == "search" else db.execute("SELECT embed(?)", [about]).fetchall()
        if len(rows) != (3 if kind == "search" else 1):
            raise AssertionError(rows)
        if not db._engine.encoders.models.is_connected:  # noqa: SLF001 - models of its own have answered
            raise AssertionError("the server broke off")

    return ask, db.close


def stranger_of(family: int, address: tuple[str, int] | str) -> Callable[[bytes], socket.socket]:
    def stranger(sent: bytes) -> socket.socket:
        connection = socket.socket(family)
        connection.settimeout(5)
        connection.connect(address)
        connection.sendall(sent)
        return connection

    return stranger


@contextmanager
def server(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Start a server, and return its process and what it says of itself."""
    command = [sys.executable, "-m", "sqlrag", "serve", *arguments, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def begun(stack: ExitStack, engine: str, folder: Path) -> list[Load]:
    """Start the servers of an engine."""
    path = folder / f"soak.{'duckdb' if engine == 'duckdb' else 'db'}"
    with sqlrag.connect(path) as db:
        db.ingest(PASSAGES)
    loads = []
    for kind, connect, secret in (("http", over_http, "token"), ("postgres", over_postgres, "password")):
        process, told = stack.enter_context(server(str(path), f"--{kind}", "--port", "0"))
        port = int(told["url"].rpartition(":")[2].partition("/")[0])
        loads.append(
            Load(
                f"{engine}, {kind}",
                process,
                lambda connect=connect, told=told, secret=secret: connect(told["url"], told[secret]),
                stranger_of(socket.AF_INET, ("127.0.0.1", port)),
            )
        )
    if engine == "sqlite":
        place = folder / "s.sock"
        process, _ = stack.enter_context(server("--socket", str(place)))
        stranger = stranger_of(socket.AF_UNIX, str(place))
        loads.append(Load("socket", process, lambda: over_the_socket(place, path), stranger))
    return loads


def possessions(pid: int) -> tuple[float, int, int]:
    """Return the megabytes, descriptors and threads of a process and those that it has started (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    found = int(status["VmRSS"].split()[0]) / 1024, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"])
    for task in os.listdir(f"/proc/{pid}/task"):
        children = ""
        with suppress(FileNotFoundError):  # the thread has just ended
            children = Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii")
        for child in children.split():
            more = possessions(int(child))
            found = found[0] + more[0], found[1] + more[1], found[2] + more[2]
    return found


def row(load: Load, minute: int, seconds: float) -> str:
    """Return a line of the table."""
    took, wrong = load.minute()
    for error in sorted(set(wrong))[:5]:
        print(f"{load.name}: {wrong.count(error)} times {error}", file=sys.stderr)
    megabytes, descriptors, threads = possessions(load.process.pid)
    times = sorted(took) or [0.0]
    middle, late = statistics.median(times), times[min(int(len(times) * 0.99), len(times) - 1)]
    return (
        f"| {load.name} | {minute} | {len(took)} ({len(took) / seconds:.0f}/s) | {len(wrong)} | {middle * 1000:.1f} "
        f"| {late * 1000:.0f} | {megabytes:.0f} | {descriptors} | {threads} |"
    )


HEAD = """\
| server | minute | answers | wrong | p50, ms | p99, ms | MB | descriptors | threads |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def soak(loads: list[Load], minutes: int, seconds: float) -> list[str]:
    """Ask the servers for so many minutes, and return the table's lines, those of a server together."""
    end = threading.Event()
    threads = [threading.Thread(target=ask_for_ever, args=(load, end)) for load in loads for _ in range(CLIENTS)]
    threads += [threading.Thread(target=be_strange, args=(load, end)) for load in loads]
    for thread in threads:
        thread.start()
    lines: dict[str, list[str]] = {load.name: [] for load in loads}
    try:
        for minute in range(1, minutes + 1):
            time.sleep(seconds)
            for load in loads:
                line = row(load, minute, seconds)
                print(line, flush=True)
                lines[load.name].append(line)
    finally:
        end.set()
        for thread in threads:
            thread.join()
    return [line for group in lines.values() for line in group]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60, help="of a minute: fewer for a trial")
    parser.add_argument("--engine", choices=("sqlite", "duckdb"), action="append", help="by default both, at once")
    parser.add_argument("--write", action="store_true", help="write benchmarks/soak.md")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.chmod(folder, 0o700)
        loads = [
            one for engine in arguments.engine or ("sqlite", "duckdb") for one in begun(stack, engine, Path(folder))
        ]
        print(HEAD)
        lines = soak(loads, arguments.minutes, arguments.seconds)
    if arguments.write:
        machine = f"{os.cpu_count()} CPUs ({platform.machine()}), load {load:.1f} at its start"
        text = (
            "# Minutes of mixed load\n\n"
            f"`python benchmarks/soak.py --minutes {arguments.minutes}` on {machine}, Python "
            f"{platform.python_version()}: what is asked, and by whom, stands at the top of the script. The servers "
            "were asked side by side, so the times are those of a busy machine. Memory, descriptors and threads are "
            "those of a server's processes together, at the end of each minute.\n\n"
        )
        table = "\n".join([HEAD, *lines])
        (ROOT / "benchmarks" / "soak.md").write_text(f"{text}{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
