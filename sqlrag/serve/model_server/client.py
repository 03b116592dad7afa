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
    read_row,
    read_table,
)
from sqlrag.serve.model_server.socket_path import TOKEN, check_folder, check_peer

__all__ = ["SILENT_SECONDS", "WELCOME_SECONDS", "Client"]

WELCOME_SECONDS = 2.0
"""Seconds for the server to welcome a client, and to answer STATUS."""

SILENT_SECONDS = 10.0
"""Seconds between two frames of the server while it works."""

_AGAIN = 0.02
"""Seconds between two attempts to connect."""


class Client:
    """A connection to the server. `sqlrag status` shows `name`.

    Every method raises ServerError if the server has ended, is too slow or breaks the protocol. Of a connection that
    has done so, only `close` is of use. Raises FileNotFoundError or ConnectionRefusedError if no server runs.
    """

    def __init__(self, path: Path, name: str) -> None:
        check_folder(path)
        self._owned = Owned(str(path))
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel = Channel(connection)
        self._lock = threading.Lock()
        self._is_calling = self._is_cancelled = False
        try:
            _connect(connection, path)
            check_peer(connection)
            _, self.server_version, self.pid, _ = self._welcome(self._hello(name))
        except BaseException:
            connection.close()
            raise

    def call(self, function: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a function of the server. Raises what the function does."""
        return self._request(Frame.CALL, as_row([function, *arguments]))

    def status(self) -> dict[str, Any]:
        """Return the names and values that `sqlrag status` shows."""
        return dict(self._request(Frame.STATUS, seconds=WELCOME_SECONDS))

    def stop(self) -> None:
        """Let the server finish its running calls, and return when it has ended."""
        self._request(Frame.STOP)
        try:
            while True:
                self._channel.receive()
        except Gone:
            return

    def cancel(self) -> None:
        """Let the server give up the call that runs, which then raises; may be called from another thread."""
        with self._lock, suppress(Gone):
            if self._is_calling and not self._is_cancelled:
                self._is_cancelled = True
                self._channel.send(Frame.CANCEL)

    def close(self) -> None:
        """Close the connection, unless this is a forked child and the connection its parent's."""
        if not self._owned.is_inherited:
            self._channel.close()

    def _hello(self, name: str) -> bytes:
        return as_row([VERSION, name, os.environ.get(TOKEN)])

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
                if answer != Frame.WORKING:
                    raise ProtocolError(f"a frame of type {answer.name} that nobody asked for")

        self._is_calling = kind == Frame.CALL
        try:
            rows: list[tuple[Any, ...]] = self._talk(talk)
        finally:
            with self._lock:
                self._is_calling = self._is_cancelled = False
        return rows

    def _talk(self, talk: Callable[[], Any]) -> Any:
        """Return what `talk` does. Close the connection if it breaks off: the next answer would belong to it."""
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


def _connect(connection: socket.socket, path: Path) -> None:
    """Connect to a server; ask again for a while if its queue of connections is full."""
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
    """Return the error of an ERROR frame."""
    name, message, *_ = read_row(body, least=2)
    return error_named(name, message)
