"""A client of the server in Python."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlrag.errors import Error, ServerError, error_named
from sqlrag.process.forks import Owned
from sqlrag.serve.model_server.channel import Channel, Gone
from sqlrag.serve.model_server.protocol import (
    VERSION,
    Frame,
    ProtocolError,
    as_row,
    as_table,
    read_query,
    read_row,
    read_table,
)
from sqlrag.serve.model_server.socket_path import TOKEN, check_folder, check_peer

__all__ = ["SILENT_SECONDS", "WELCOME_SECONDS", "Client", "QueryError", "Run"]

WELCOME_SECONDS = 2.0
"""For the server to welcome a client, and to tell its status."""

SILENT_SECONDS = 10.0
"""Between two frames of the server."""

_AGAIN = 0.02

Run = Callable[[str, Any], tuple[int, Sequence[Sequence[Any]]]]
"""Runs a statement of the server's: its columns and rows. Raises QueryError."""


class QueryError(Exception):
    """A statement of the server's failed: SQLite's extended result code, and its message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """A connection to the server. Every method raises ServerError where it is dead, slow or lying.

    `run` runs what the server asks of the database. After an error of the connection only `close` is of use.
    Raises FileNotFoundError or ConnectionRefusedError where no server runs.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        run: Run | None = None,
        *,
        nprobe: int | None = None,
        rerank_limit: int | None = None,
    ) -> None:
        check_folder(path)
        self._owned = Owned(str(path))
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel = Channel(connection)
        self.run = run
        self._lock = threading.Lock()
        self._calls = 0
        self._cancelled = False
        try:
            _connect(connection, path)
            check_peer(connection)
            hello = as_row([VERSION, name, os.environ.get(TOKEN), nprobe, rerank_limit])
            version, server, pid, vec = self._welcome(hello)
        except BaseException:
            connection.close()
            raise
        self.version, self.server_version, self.pid, self.vec_path = version, server, pid, vec

    def begin(self) -> None:
        """Tell that a statement of the user's begins."""
        self._talk(lambda: self._channel.send(Frame.BEGIN))

    def call(self, function: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a function; of a scalar, one row of one value. Raises what the function does."""
        return self._request(Frame.CALL, as_row([function, *arguments]))

    def status(self) -> dict[str, Any]:
        """Return what the server says of itself."""
        return dict(self._request(Frame.STATUS, seconds=WELCOME_SECONDS))

    def stop(self) -> None:
        """Have the server finish what runs, and return when it has ended."""
        self._request(Frame.STOP)
        try:
            while True:
                self._channel.receive()
        except Gone:
            return

    def cancel(self) -> None:
        """Have the server give up the call that runs, which then raises; may be called from another thread."""
        with self._lock, suppress(Gone):
            if self._calls and not self._cancelled:
                self._cancelled = True
                self._channel.send(Frame.CANCEL)

    def close(self) -> None:
        """Close the connection; a forked child has no part in its parent's."""
        if not self._owned.is_inherited:
            self._channel.close()

    def _welcome(self, hello: bytes) -> Sequence[Any]:
        def greet() -> Sequence[Any]:
            self._channel.send(Frame.HELLO, hello)
            kind, body = self._channel.receive(WELCOME_SECONDS)
            if kind == Frame.ERROR:
                raise _error(body)
            row = read_row(body, least=4)[:4]
            if kind != Frame.WELCOME or row[0] != VERSION:
                raise ProtocolError(f"no welcome, but {kind.name} {row[0]!r:.40}")
            return row

        welcome: Sequence[Any] = self._talk(greet)
        return welcome

    def _request(self, kind: Frame, body: bytes = b"", seconds: float = SILENT_SECONDS) -> list[tuple[Any, ...]]:
        def talk() -> list[tuple[Any, ...]]:
            self._channel.send(kind, body)
            while True:
                answer, content = self._channel.receive(seconds)
                if answer == Frame.RESULT:
                    return read_table(content)
                if answer == Frame.ERROR:
                    raise _error(content)
                if answer == Frame.QUERY and kind == Frame.CALL:
                    self._send_unless_cancelled(*self._answered(content))
                elif answer != Frame.WORKING:
                    raise ProtocolError(f"a frame of type {answer.name} that nobody asked for")

        self._calls += kind == Frame.CALL
        try:
            rows: list[tuple[Any, ...]] = self._talk(talk)
        finally:
            with self._lock:
                self._calls -= kind == Frame.CALL
                self._cancelled = False
        return rows

    def _send_unless_cancelled(self, kind: Frame, body: bytes) -> None:
        """Answer a QUERY, unless the server has been told that nobody waits for it."""
        with self._lock:
            if not self._cancelled:
                self._channel.send(kind, body)

    def _talk(self, talk: Callable[[], Any]) -> Any:
        """Return what the exchange does; one that breaks off ends the connection, its answers would be others'."""
        if self._owned.is_inherited:
            raise ServerError("the connection to the model server was opened in another process: open it again")
        try:
            return talk()
        except Error as error:
            if isinstance(error, ServerError):
                self.close()
            raise
        except TimeoutError as error:
            self.close()
            raise ServerError("the model server says nothing") from error
        except (Gone, ProtocolError, UnicodeDecodeError) as error:
            self.close()
            raise ServerError(f"the model server broke off: {error}") from error
        except BaseException:  # Ctrl-C
            self.close()
            raise

    def _answered(self, query: bytes) -> tuple[Frame, bytes]:
        """Run a statement of the server's, and return the frame that answers it."""
        sql, bindings = read_query(query)
        if self.run is None:
            raise ProtocolError("a QUERY, where there is no database")
        try:
            columns, rows = self.run(sql, bindings)
        except QueryError as error:
            return Frame.FAILED, as_row([error.code, str(error)])
        return Frame.ROWS, as_table(columns, rows)


def _connect(connection: socket.socket, path: Path) -> None:
    """Connect to a server; one whose queue of connections is full is asked again for a while."""
    connection.settimeout(WELCOME_SECONDS)
    until = time.monotonic() + WELCOME_SECONDS
    while True:
        try:
            connection.connect(str(path))
            return
        except (TimeoutError, BlockingIOError) as error:
            if time.monotonic() > until:
                raise ServerError(f"the model server at {path} takes no connection: {error}") from error
        time.sleep(_AGAIN)


def _error(body: bytes) -> Error:
    """Return the error that the server tells."""
    name, message, *_ = read_row(body, least=2)
    return error_named(name, message)
