"""Mutated requests against the JSON API: `python -m tests.http.fuzz --messages 1000000`.

Half of the messages are requests that begin well and have one to four things wrong: values of other kinds, names
misspelt, SQL with pieces of other SQL, JSON and headers with bytes changed. The other half are bytes: a request cut,
doubled, spliced with another or with noise. The server must answer each that is a request with a status that its
description knows, or close; and never with 500, a hang, or memory that grows. What once went wrong stands in
REGRESSIONS and is sent first. The same seed sends the same messages.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import sqlrag
from tests.conftest import PASSAGES
from tests.http.servers import Served, served

KNOWN = {200, 204, 400, 401, 403, 404, 405, 408, 413, 415, 421, 422, 431, 503}

REGRESSIONS = [
    b'POST /sql HTTP/1.1\r\nContent-Length: 24\r\n\r\n{"statement": "SELECT 1"}',
    b'POST /sql HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{"statement": "\\u0000"}',
    b"GET /chunks/18446744073709551616 HTTP/1.1\r\n\r\n",
    b"GET /search?question=bees&top_n=9223372036854775808 HTTP/1.1\r\n\r\n",
    b"GET /search?question=%00 HTTP/1.1\r\n\r\n",
    b"GET /search?question=%ff%fe HTTP/1.1\r\n\r\n",
    b"GET /chunks/1?before=1e400 HTTP/1.1\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
    b"POST /search HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /search HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /search HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"CONNECT evil.example:80 HTTP/1.1\r\n\r\n",
    b"GET http://evil.example/describe HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /describe HTTP/1.0\r\n\r\n",
    b"GET /describe HTTP/1.1\r\nExpect: 100-continue\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"HEAD /describe HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n",
    b"POST /search HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n",  # two answers were tried to it
]

VALUES = [
    None, True, False, 0, 1, -1, 3, 25, 1 << 31, 1 << 63, -(1 << 63), 1 << 64, 1e308, -0.0, 0.5, "", " ", "chunks",
    "bees", "\x00", "\ufeff", "🐝", "ß" * 1000, "a" * 100_001, "'", '"', "%", "; --", "NaN", "1", [], {}, [1],
    {"a": {"b": []}},
]  # fmt: skip
SQL = [
    "SELECT 1", "SELECT :a", "SELECT * FROM chunks", "SELECT text FROM documents LIMIT 3", "FROM", "WHERE", "ORDER BY",
    "embed('x')", "token_count(text)", "rerank_score('a', 'b')", "text_top_k('chunks', 'bees', 3)", "JOIN", "NULL", ",",
    "(", ")", "'", ";", "--", "/*", "DROP TABLE chunks", "ATTACH 'x' AS y", "PRAGMA journal_mode = OFF", "COPY",
    "read_csv", "UNION ALL", "WITH a AS (SELECT 1)", "CAST(x AS BLOB)", "zeroblob(1000)", "'\U0001f41d'", "1e999", "0x",
    ":", "?", "$1",
]  # fmt: skip
FILTERS = ["title = 'Bees'", "1 = 1", "nope = 1", "(SELECT 1)", "title LIKE '%", "''", "id IN (1, 2)", ")"]
HEADERS = [
    "Host: evil.example", "Origin: null", "Authorization: Bearer x", "Content-Type: text/plain", "Connection: close",
    "Content-Encoding: gzip", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "Expect: 100-continue",
    "X: \x00", "Content-Length: 3", "Accept: */*", "Range: bytes=0-1", "X-Forwarded-Host: evil.example", " folded",
    ": empty",
]  # fmt: skip
# Nobody can say of these where the request ends.
_UNSURE = re.compile(rb"Transfer-Encoding|Content-Length: 3\r|Expect")

METHODS = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", ""]


class Mutator:
    """Makes messages, from a seed."""

    def __init__(self, seed: int, server: Served) -> None:
        self._random = random.Random(seed)
        self._fixed = f"Host: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.token}\r\n"

    def message(self) -> tuple[bytes, bool]:
        """Return the next message, and whether it is a request that must be answered."""
        request = self._request()
        whole = self._random.random() < 0.5 and not _UNSURE.search(request)
        return (request if whole else self._noise(request)), whole

    def _request(self) -> bytes:
        choose = self._random.choice
        path, method, arguments = choose([
            ("/search", "POST", {"question": "bees", "top_k": 2, "top_n": 1}),
            ("/search", "GET", {"question": "bees", "top_k": "2", "top_n": "1", "filter": choose(FILTERS)}),
            ("/sql", "POST", {"statement": " ".join(self._random.choices(SQL, k=self._random.randint(1, 6)))}),
            ("/sql", "POST", {"statement": "SELECT :a AS a", "params": {"a": choose(VALUES)}}),
            (f"/chunks/{choose(['1', '25', '26', '-1', 'x', '%2e%2e', '1e3'])}", "GET", {"before": "1", "after": "1"}),
            ("/describe", "GET", {}),
            ("/openapi.json", "GET", {}),
        ])  # fmt: skip
        headers: list[str] = []
        for _ in range(self._random.randint(0, 4)):
            kind = self._random.random()
            if kind < 0.5 and arguments:
                arguments[choose([*arguments, "filter", "index", "nope"])] = choose(VALUES)
            elif kind < 0.7:
                headers.append(choose(HEADERS))
            elif kind < 0.8:
                method = choose(METHODS)
            elif kind < 0.9 and arguments:
                arguments.pop(choose(list(arguments)))
            else:
                path += choose(["/", "//", "?", "#", "%00", "/../x", "?a=b&a=b", "\t"])
        return self._written(method, path, arguments, headers)

    def _written(self, method: str, path: str, arguments: dict, headers: list[str]) -> bytes:
        body = b""
        if method == "POST":
            body = json.dumps(arguments).encode()
            headers = ["Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
        elif arguments:
            path += "?" + "&".join(f"{quote(str(name))}={quote(str(value))}" for name, value in arguments.items())
        lines = "".join(f"{header}\r\n" for header in headers)
        return f"{method} {path} HTTP/1.1\r\n{self._fixed}{lines}\r\n".encode() + body

    def _noise(self, request: bytes) -> bytes:
        data = bytearray(request)
        for _ in range(self._random.randint(1, 4)):
            at, kind = self._random.randrange(len(data) + 1), self._random.randrange(6)
            if kind == 0:
                del data[at:]
            elif kind == 1:
                data[at:at] = self._random.randbytes(self._random.randint(1, 40))
            elif kind == 2:
                data[at : at + self._random.randint(1, 8)] = b""
            elif kind == 3:
                data[at:at] = data[: self._random.randint(0, 200)]
            elif kind == 4 and data:
                data[at % len(data)] = self._random.randrange(256)
            else:
                data[at:at] = self._request()
        return bytes(data)


class Fuzz:
    """Sends messages and looks at what comes back; 0 counts what was closed or waited for more."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self._connection: socket.socket | None = None
        self.statuses: Counter[int] = Counter()
        self.wrong: list[tuple[bytes, str]] = []

    def send(self, message: bytes, *, whole: bool) -> None:
        """Send a message and read the first answer; what must not be is in `wrong`.

        A message that may not be `whole` need not be answered: the server may wait for the rest of it.
        """
        began = time.perf_counter()
        try:
            head, body = self._answer(message, patience=20 if whole else 0.02)
        except TimeoutError:
            head, body = b"", b""
            if whole:
                self.wrong.append((message, f"no answer in {time.perf_counter() - began:.1f} s"))
        except OSError:  # closed before it was read to the end
            head, body = b"", b""
        status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.1 ") else 0
        self.statuses[status] += 1
        if status not in KNOWN | {0, 100}:
            self.wrong.append((message, f"status {status}: {body[:200]!r}"))
        if not whole or status in {0, 100} or b"connection: close" in head.lower():
            self.close()

    def _answer(self, message: bytes, patience: float) -> tuple[bytes, bytes]:
        if self._connection is None:
            self._connection = socket.create_connection(("127.0.0.1", self._server.port))
        self._connection.settimeout(patience)
        self._connection.sendall(message)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while length and not message.startswith(b"HEAD") and len(body) < int(length[1]):
            body += self._more()
        return head, body

    def _more(self) -> bytes:
        part = self._connection.recv(1 << 16)
        if not part:
            raise ConnectionError
        return part

    def close(self) -> None:
        """Close the connection; the next message makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def run(server: Served, messages: int, seed: int) -> Iterator[Fuzz]:
    """Send the regressions and so many messages; yield the state after each thousand, and at the end."""
    mutator, fuzz = Mutator(seed, server), Fuzz(server)
    for regression in REGRESSIONS:
        fuzz.send(regression, whole=False)
        start, _, rest = regression.partition(b"\r\n")
        fuzz.send(start + b"\r\n" + mutator._fixed.encode() + rest, whole=False)
    for number in range(messages):
        message, whole = mutator.message()
        fuzz.send(message, whole=whole)
        if number % 1000 == 999:
            yield fuzz
    fuzz.close()
    yield fuzz


def main() -> None:
    """Fuzz a server of the passages on each engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for suffix in ("db", "duckdb"):
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"passages.{suffix}"
            with sqlrag.connect(path) as db:
                db.ingest(PASSAGES)
            with served(path, "--http", "--time-limit", "1") as server:
                began, first = time.perf_counter(), 0
                for fuzz in run(server, arguments.messages // 2, arguments.seed):
                    first = first or server.memory()
                    if fuzz.wrong:
                        break
                seconds = time.perf_counter() - began
                print(f"{suffix}: {sum(fuzz.statuses.values()):,} messages in {seconds:.0f} s, {dict(fuzz.statuses)}")
                print(f"  memory after a thousand {first:,} kB, at the end {server.memory():,} kB")
                for message, why in fuzz.wrong[:20]:
                    print(f"  {why}\n    {message!r}")
                with server.client as client:
                    assert client.get("/describe").status_code == 200
                assert not fuzz.wrong
                if server.log:
                    sys.exit("its log is not empty:\n" + "".join(server.log[:60]).rstrip())


if __name__ == "__main__":
    main()
