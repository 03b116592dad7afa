"""Mutated messages against a live server: it must not crash, hang or grow.

    python -m tests.postgres.fuzz --messages 100000 [--seed 1] [--engine sqlite]

A conversation is a list of messages that a client might send, before or after it is let in; then bytes of it are
flipped, cut, repeated, or put from one into another, and lengths are made to lie. After each hundred conversations an
honest client asks something and gets the right answer. What once went wrong stands in `corpus.txt`, as hex, and is
sent first.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

import psycopg

import sqlrag
from tests.conftest import PASSAGES
from tests.postgres.conftest import Served, serving

CORPUS = Path(__file__).parent / "corpus.txt"

STATEMENTS = [
    "SELECT 1", "SELECT id, text FROM chunks LIMIT 3", "SELECT $1::int8, $2::text", "BEGIN", "COMMIT", "ROLLBACK",
    "DEALLOCATE ALL", "DEALLOCATE a",
    "SELECT 'a;b', \"x\" -- c\n; /* d */ SELECT $$e$$", "SET application_name = 'x'", "SHOW ALL", "DISCARD ALL",
    "SELECT relname FROM pg_catalog.pg_class WHERE relname ~ '^c'", "SELECT 'chunks'::regclass::oid", "",
    "SELECT * FROM text_top_k('chunks', 'bees', 3)", "COPY x TO STDOUT", "SELECT nope", "DELETE FROM chunks",
    "SELECT $65535",
]  # fmt: skip

OIDS = (0, 16, 17, 20, 21, 23, 25, 114, 700, 701, 1021, 1022, 1082, 1114, 1700, 2950, 3802, 99999, -1)


def message(kind: bytes, body: bytes) -> bytes:
    """Return a message with its true length."""
    return struct.pack("!cI", kind, len(body) + 4) + body


def name(draw: random.Random) -> bytes:
    """Return the name of a statement or portal."""
    return draw.choice((b"\0", b"a\0", b"b\0"))


def parse(draw: random.Random) -> bytes:
    """Return a Parse."""
    oids = [draw.choice(OIDS) for _ in range(draw.randrange(4))]
    sql = draw.choice(STATEMENTS).encode() + b"\0"
    return message(b"P", name(draw) + sql + struct.pack("!H", len(oids)) + struct.pack(f"!{len(oids)}i", *oids))


def bind(draw: random.Random) -> bytes:
    """Return a Bind."""
    values = [
        draw.choice((None, b"1", draw.randbytes(draw.choice((1, 2, 4, 8, 16, 40))))) for _ in range(draw.randrange(4))
    ]
    formats = [draw.randrange(3) for _ in range(draw.choice((0, 1, len(values))))]
    results = [draw.randrange(2) for _ in range(draw.randrange(3))]
    body = name(draw) + name(draw) + struct.pack(f"!H{len(formats)}h", len(formats), *formats)
    body += struct.pack("!H", len(values))
    body += b"".join(b"\xff" * 4 if value is None else struct.pack("!i", len(value)) + value for value in values)
    return message(b"B", body + struct.pack(f"!H{len(results)}h", len(results), *results))


MAKERS = (
    lambda draw: message(b"Q", draw.choice(STATEMENTS).encode() + b"\0"),
    parse,
    bind,
    bind,
    lambda draw: message(b"D", draw.choice((b"S", b"P", b"x")) + name(draw)),
    lambda draw: message(b"E", name(draw) + struct.pack("!i", draw.choice((0, 1, -1, 1 << 30)))),
    lambda draw: message(b"C", draw.choice((b"S", b"P")) + name(draw)),
    lambda _: message(b"S", b""),
    lambda _: message(b"H", b""),
    lambda draw: message(draw.choice((b"F", b"d", b"c", b"f", b"p")), draw.randbytes(draw.randrange(20))),
)


def startup(draw: random.Random) -> bytes:
    """Return what comes first, of a client that is not let in."""
    kind = draw.randrange(5)
    if kind < 3:
        return struct.pack("!ii", 8 + 8 * (kind == 2), 80877104 - kind) + draw.randbytes(8 * (kind == 2))
    body = b"user\0x\0database\0passages\0options\0-c a=b\0\0"
    start = struct.pack("!ii", len(body) + 8, draw.choice((196608, 196610, 131072, draw.getrandbits(31)))) + body
    return start + message(b"p", b"SCRAM-SHA-256\0\0\0\0\x10n,,n=,r=abcdefgh" + draw.randbytes(draw.randrange(9)))


def mutated(draw: random.Random, data: bytes) -> bytes:
    """Return a message with something wrong with it, or none as often as not."""
    data = bytearray(data)
    for _ in range(draw.choice((0, 0, 0, 1, 1, 2, 8))):
        place = draw.randrange(len(data)) if data else 0
        how = draw.randrange(5)
        if how == 0 and data:
            data[place] = draw.randrange(256)
        elif how == 1:
            data[place : place + draw.randrange(6)] = b""
        elif how == 2:
            data[place:place] = draw.randbytes(draw.randrange(1, 9))
        elif how == 3 and len(data) >= 5:
            data[1:5] = struct.pack("!I", draw.choice((0, 3, 4, 5, len(data), 1 << 20, 1 << 24, 1 << 31, 0xFFFFFFFF)))
        else:
            data[place:place] = data[: draw.randrange(20)]
    return bytes(data)


class Fuzz:
    """One run against one server."""

    def __init__(self, served: Served, seed: int) -> None:
        self.served = served
        self.draw = random.Random(seed)
        self.sent = 0
        self.log: list[bytes] = []

    def converse(self) -> None:
        """Send some messages, and read until the server has nothing to say, or has gone."""
        if self.draw.random() < 0.3:
            self._send(socket.create_connection(("127.0.0.1", self.served.port)), [startup(self.draw)])
            return
        messages = [self.draw.choice(MAKERS)(self.draw) for _ in range(self.draw.randrange(1, 30))]
        self.replay(messages)

    def replay(self, messages: list[bytes], *, mutate: bool = True) -> None:
        """Send messages as a client that is let in."""
        with self.served.connect() as client:
            self._send(socket.socket(fileno=os.dup(client.fileno())), messages, mutate=mutate)

    def _send(self, connection: socket.socket, messages: list[bytes], *, mutate: bool = True) -> None:
        sent = [mutated(self.draw, data) if mutate else data for data in messages]
        self.log = sent
        with connection:
            connection.settimeout(15)
            try:
                for data in sent:
                    connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
            except TimeoutError:
                raise AssertionError(f"the server hangs: {b''.join(sent).hex()}") from None
            except OSError:
                pass  # it has closed the connection
        self.sent += len(sent)

    def check(self) -> None:
        """An honest client is answered as ever."""
        assert self.served.process.poll() is None, f"the server is gone: {b''.join(self.log).hex()}"
        with self.served.connect() as client:
            assert client.execute("SELECT count(*) FROM chunks WHERE id > %s", (5,)).fetchone() == (20,)

    def memory(self) -> tuple[float, int, int]:
        """Return the server's resident memory in MB, its threads and its open files."""
        folder = Path("/proc") / str(self.served.process.pid)
        pages = int((folder / "statm").read_text().split()[1])
        threads = len(list((folder / "task").iterdir()))
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, threads, len(list((folder / "fd").iterdir()))

    def run(self, messages: int) -> str:
        """Send so many messages; return what the server takes before and after. Raises AssertionError."""
        for line in CORPUS.read_text().splitlines():
            if line and not line.startswith("#"):
                self.replay([bytes.fromhex(line)], mutate=False)
                self.check()
        while self.sent < messages // 10:  # threads are made when they are first needed
            self.converse()
        self.check()
        before, turn = self.memory(), 0
        while self.sent < messages:
            self.converse()
            turn += 1
            if turn % 100 == 0:
                self.check()
        self.check()
        time.sleep(0.5)
        after = self.memory()
        said = f"{self.sent:,} messages; memory {before[0]:.0f} MB → {after[0]:.0f} MB, "
        said += f"threads and files {before[1:]} → {after[1:]}"
        assert after[0] < before[0] + 100, said
        assert (after[1], after[2]) <= (before[1] + 5, before[2] + 20), said
        return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=["sqlite", "duckdb"], default="sqlite")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"passages.{'duckdb' if arguments.engine == 'duckdb' else 'db'}"
        with sqlrag.connect(path) as db:
            db.ingest(PASSAGES)
        with serving(path, arguments.engine, "--time-limit", "5") as served:
            started = time.monotonic()
            said = Fuzz(served, arguments.seed).run(arguments.messages)
            print(f"{said}, {time.monotonic() - started:.0f} s", file=sys.stdout)
            served.process.kill()
            errors = served.process.stderr.read()
            assert "Traceback" not in errors, errors[-5_000:]


if __name__ == "__main__":
    try:
        main()
    except psycopg.OperationalError as error:
        sys.exit(f"an honest client was refused: {error}")
