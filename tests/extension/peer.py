"""A peer of the extension that says what a test tells it to: the server of lies, of silence and of early ends."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqlrag.serve.model_server.protocol import Frame, as_row, as_table

WELCOME = (1, "0", 1, "/nowhere/vec0")


class Peer:
    """Listens at a path; `script` is run with each `Line`, in a thread of its own."""

    def __init__(self, path: Path, script: Callable[[Line], None]) -> None:
        self.lines: list[Line] = []
        self._script = script
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            line = Line(connection)
            self.lines.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: Line) -> None:
        try:
            self._script(line)
        except (OSError, EOFError):
            pass  # the extension has hung up
        finally:
            line.connection.close()

    def close(self) -> None:
        """Listen no more, and end every connection."""
        if self._listening.fileno() >= 0:
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for line in self.lines:
            line.end()


class Line:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.heard: list[Frame] = []

    def end(self) -> None:
        """End it, also while another thread waits on it."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.connection.sendall(data)

    def send(self, kind: int, body: bytes = b"") -> None:
        """Send a frame."""
        self.raw(struct.pack("<IB", len(body) + 1, kind) + body)

    def welcome(self, *values: object) -> None:
        """Answer HELLO."""
        assert self.take()[0] == Frame.HELLO
        self.send(Frame.WELCOME, as_row(values or WELCOME))

    def take(self) -> tuple[Frame, bytes]:
        """Return the next frame."""
        length, kind = struct.unpack("<IB", self._exactly(5))
        self.heard.append(Frame(kind))
        return Frame(kind), self._exactly(length - 1)

    def call(self) -> bytes:
        """Return the body of the next CALL."""
        while True:
            kind, body = self.take()
            if kind == Frame.CALL:
                return body

    def result(self, value: object) -> None:
        """Answer a scalar's CALL."""
        self.send(Frame.RESULT, as_table(1, [(value,)]))

    def query(self, sql: str, *bindings: object) -> tuple[Frame, bytes]:
        """Have a statement run, and return what answers it."""
        self.send(Frame.QUERY, as_row([sql, len(bindings) // 2, *bindings]))
        return self.take()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.connection.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data
