"""Mutated messages against a live server: no crash, no hang, no leak.

    python -m tests.serve.fuzz --messages 1000000

Each connection calls functions with values of every kind, and answers the server's queries from a database, some
values and some bytes of it changed; at last comes what is no frame at all. Now and then a client that keeps to the
protocol asks, and has to be answered right. What a conversation has sent that the server does not survive, or does
not end, is kept in tests/serve/corpus, which the tests replay.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import apsw

import sqlrag
from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.models import DEFAULT_EMBEDDER, bundled_models
from sqlrag.serve.model_server.channel import Channel, Gone
from sqlrag.serve.model_server.client import Client
from sqlrag.serve.model_server.protocol import VERSION, Frame, ProtocolError, as_row, as_table
from tests.serve.clients import read_query, serving, socket_folder

CORPUS = Path(__file__).parent / "corpus"

SECONDS = 40.0
"""For the server to end a connection of which it knows the end: more than each of its own limits but the models'."""

EVERY = 2_000
"""Messages between two looks at the server."""

FUNCTIONS = (
    *("embed", "embed_document", "token_count", "rerank_score", "functions", "sqlrag_info", "chunk_text"),
    *("vector_top_k", "text_top_k", "hybrid_top_k", "search"),
    *("model_embed", "model_score"),
)
CHEAP = ("token_count", "functions", "sqlrag_info", "chunk_text", "text_top_k", "search", "model_embed", "model_score")
VALUES = (
    *(None, 0, 1, -1, 3, 2**63 - 1, -(2**63), 0.0, 1e308, float("inf"), float("nan"), "", "chunks", "a question"),
    *("x" * 300, "\0", "🌋", "'; DROP TABLE chunks; --", "id = 1", "(" * 50, b"", b"\0" * 1536, b"\xff" * 7),
)


@dataclass
class Findings:
    """What happened."""

    messages: int = 0
    connections: int = 0
    problems: list[str] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    seconds: float = 0.0


class Conversation:
    """One connection: what it sends is made from a seed and from what the server says."""

    def __init__(self, path: Path, database: apsw.Connection, seed: int) -> None:
        self._random = random.Random(seed)
        self._path = path
        self._database = database
        self._query: bytes | None = None
        self.sent = b""
        self.messages = 0

    def run(self) -> str | None:
        """Talk until either side ends it. Returns what went wrong, None if nothing did."""
        with socket.socket(socket.AF_UNIX) as connection:
            self._channel = Channel(connection)
            try:
                connection.connect(str(self._path))
                self._talk()
                connection.shutdown(socket.SHUT_WR)
                while True:
                    self._channel.receive(SECONDS)
            except TimeoutError:
                return f"the server says nothing for {SECONDS:g} s"
            except ProtocolError as error:
                return f"the server broke the protocol: {error}"
            except (Gone, BrokenPipeError, ConnectionResetError, OSError) as error:
                return f"the server takes nobody in: {error}" if not self.messages else None

    def _talk(self) -> None:
        if self._random.random() < 0.97:
            values = [self._random.choice((None, 3, 100)) for _ in range(self._random.randrange(3))]
            self._send(Frame.HELLO, as_row([VERSION, "fuzz", None, *values]))
            self._hear()
        for _ in range(self._random.randrange(1, 80)):
            kind, body = self._asked() if self._query is None else self._answer()
            self._send(kind, self._mutated(body) if self._random.random() < 0.05 else body)
            if kind not in (Frame.BEGIN, Frame.CANCEL) or (kind == Frame.CANCEL and self._query is not None):
                self._hear()
        if self._random.random() < 0.3:
            self._send_broken()

    def _hear(self) -> None:
        """Take the server's next word that matters; one that is an ERROR or a RESULT leaves no QUERY open."""
        kind, body = self._channel.receive(SECONDS)
        while kind == Frame.WORKING:
            kind, body = self._channel.receive(SECONDS)
        self._query = body if kind == Frame.QUERY else None

    def _send(self, kind: int, body: bytes) -> None:
        frame = struct.pack("<IB", len(body) + 1, kind) + body
        self.sent += frame
        self._channel.socket.sendall(frame)
        self.messages += 1

    def _asked(self) -> tuple[int, bytes]:
        pick = self._random.random()
        if pick < 0.85:
            names = CHEAP if self._random.random() < 0.97 else FUNCTIONS
            name = self._random.choice(names)
            values = [self._random.choice(VALUES) for _ in range(self._random.randrange(7))]
            if "top_k" in name or name == "search":
                values[:2] = ["chunks", self._random.choice(("a question", *VALUES))][: len(values)]
            return Frame.CALL, as_row([name, *values])
        return self._random.choice((Frame.BEGIN, Frame.STATUS, Frame.CANCEL)), b""

    def _answer(self) -> tuple[int, bytes]:
        """Answer a QUERY: mostly with its rows, some of their values others."""
        assert self._query is not None
        pick = self._random.random()
        if pick < 0.03:
            return Frame.CANCEL, b""
        if pick < 0.06:
            return Frame.FAILED, as_row([self._random.choice((1, 5, 9, 11, 26, 266, -7, 2**40)), "no such thing"])
        if pick < 0.09:
            return Frame.CALL, as_row(["token_count", "nested"])
        try:
            rows = [list(row) for row in self._database.execute(*read_query(self._query))]
        except (apsw.Error, KeyError) as error:
            return Frame.FAILED, as_row([1, str(error)])
        if rows and self._random.random() < 0.1:
            row = self._random.choice(rows)
            row[self._random.randrange(len(row))] = self._random.choice(VALUES)
        if rows and self._random.random() < 0.03:
            rows = self._random.choice((rows[:-1], rows * 2, [row[1:] for row in rows if row[1:]]))
        return Frame.ROWS, as_table(len(rows[0]) if rows else 1, rows)

    def _mutated(self, body: bytes) -> bytes:
        changed = bytearray(body)
        for _ in range(self._random.randrange(1, 4)):
            at = self._random.randrange(len(changed) + 1)
            how = self._random.randrange(5)
            if how == 0 and at < len(changed):
                changed[at] ^= 1 << self._random.randrange(8)
            elif how == 1:
                del changed[at:]
            elif how == 2:
                changed[at:at] = self._random.randbytes(self._random.randrange(1, 9))
            elif how == 3 and at < len(changed):
                changed[at] = self._random.choice((0, 1, 2, 3, 4, 5, 127, 128, 255))
            else:
                del changed[at : at + self._random.randrange(1, 9)]
        return bytes(changed)

    def _send_broken(self) -> None:
        """End with bytes that are no frame of a client's, or not the whole of one."""
        kind = self._random.choice((0, 2, *range(10, 256)))
        length = self._random.choice((0, 1, 5, 1 << 16, (64 << 20) + 1, 2**32 - 1))
        broken = struct.pack("<IB", length, kind) + self._random.randbytes(self._random.randrange(20))
        self.sent += broken
        self._channel.socket.sendall(broken)
        self.messages += 1


def replay(path: Path, sent: bytes) -> str | None:
    """Send what a conversation has sent, all at once. Returns what went wrong, None if the server ended it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(path))
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
        except TimeoutError:
            return f"the server did not end the connection in {SECONDS:g} s"
        except OSError:  # it has ended the connection with bytes unread
            return None
    return None


def fuzz(messages: int, seed: int, keep: Path | None = CORPUS) -> Findings:
    """Send so many mutated messages to a server of its own."""
    found = Findings()
    started = time.monotonic()
    with socket_folder() as path, serving(path, quiet=True) as process:
        database = _database(path.parent)
        look = 0
        descriptors = 0
        while found.messages < messages and not found.problems:
            talk = Conversation(path, database, seed + found.connections)
            problem = talk.run()
            found.connections += 1
            found.messages += talk.messages
            if problem is None and process.poll() is not None:
                problem = f"the server ended with {process.returncode}"
            if problem is not None:
                found.problems.append(f"seed {seed + found.connections - 1}: {problem}")
                if keep is not None:
                    name = hashlib.sha256(talk.sent).hexdigest()[:12]
                    (keep / f"{name}.bin").write_bytes(talk.sent)
            elif found.messages >= look:
                look += EVERY
                found.rss.append(_asked(path, found))
                descriptors = descriptors or len(os.listdir(f"/proc/{process.pid}/fd"))
        if not found.problems:
            found.rss.append(_asked(path, found))
            until = time.monotonic() + SECONDS
            while (left := len(os.listdir(f"/proc/{process.pid}/fd"))) > descriptors and time.monotonic() < until:
                time.sleep(0.1)  # the last connections are just ending
            if left > descriptors:
                found.problems.append(f"{left} open files, {descriptors} at first")
    found.seconds = time.monotonic() - started
    return found


def _database(folder: Path) -> apsw.Connection:
    """Return a connection to a database of the passages that the tests use."""
    file = folder / "passages.db"
    with sqlrag.connect(file) as db:
        db.ingest(Path(__file__).parents[1] / "passages.jsonl")
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    load_vec(connection)
    return connection


def _asked(path: Path, found: Findings) -> int:
    """Ask as a client that keeps to the protocol, and return the server's memory in bytes."""
    client = Client(path, "honest")
    words = f"some words {found.messages}"
    spec = bundled_models()[DEFAULT_EMBEDDER]
    if len(client.call("model_embed", spec.name, spec.weights_hash, "query", words)[0][0]) != 4 * spec.dimension:
        found.problems.append("a wrong answer")
    rss = int(client.status()["rss_bytes"])
    client.close()
    return rss


def grown(rss: list[int]) -> float:
    """Return by how many MiB memory has grown since a fifth of the run."""
    return (rss[-1] - rss[len(rss) // 5]) / 2**20


def main() -> int:
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    found = fuzz(arguments.messages, arguments.seed)
    print(
        f"seed {arguments.seed}: {found.messages:,} messages in {found.connections:,} connections, "
        f"{found.seconds:.0f} s; memory {found.rss[0] / 2**20:.0f} MiB at first, {found.rss[-1] / 2**20:.0f} at last, "
        f"{grown(found.rss):+.1f} since a fifth; problems: {'; '.join(found.problems) or 'none'}"
    )
    return bool(found.problems)


if __name__ == "__main__":
    sys.exit(main())
