"""The loop that accepts connections, and the start-up and sign-in of each.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP
"""

from __future__ import annotations

import hmac
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from sqlrag.errors import Error
from sqlrag.process.descriptors import room
from sqlrag.serve.postgres.authentication import Password
from sqlrag.serve.postgres.catalog import Catalog
from sqlrag.serve.postgres.execution import Source
from sqlrag.serve.postgres.messages import Body, Closed, Wire, error_response, int32, message, text
from sqlrag.serve.postgres.session import Session
from sqlrag.serve.postgres.settings import DEFAULTS, VERSION, Settings
from sqlrag.serve.postgres.sqlstate import ClientError, FatalError, sqlstate
from sqlrag.serve.untrusted import SECONDS, open_confined

__all__ = ["CONNECTIONS", "LOOPBACK", "Server"]

LOOPBACK = "127.0.0.1"

CONNECTIONS = 32
"""The most clients at once; each has its own connection to the database."""

_UNKNOWN = 64
"""The most connections that have not signed in: one more ends the oldest of them. They take at most a quarter of the
process's descriptors."""

_START_SECONDS = 10.0
"""The seconds that signing in may take."""

_AGAIN = 0.1
"""Seconds until the next try to accept a client for which the system had no descriptor."""

_STOP_SECONDS = 2.0

_CANCEL, _TLS, _GSS = 80877102, 80877103, 80877104


class Server:
    """Offers one database, for reading, to clients on this machine that know the password.

    `certificate`: a file with a certificate and its key (PEM); then TLS is required. `seconds`: for one statement.
    Raises what `connect` does, OSError and ssl.SSLError for a certificate that cannot be used.
    """

    def __init__(
        self,
        path: str,
        password: str,
        *,
        seconds: float = SECONDS,
        models: Mapping[str, str] | None = None,
        certificate: str | None = None,
        connections: int = CONNECTIONS,
    ) -> None:
        self.name = Path(path).stem
        self._path, self._seconds, self._models = path, seconds, models
        self._password = Password(password)
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        # It stays open, so that DuckDB's file is not opened for each client, and errors of the file are raised here.
        self._database = open_confined(path, models)
        self._catalog = Catalog(self.name, f"PostgreSQL {VERSION} on {self._database.engine}", DEFAULTS)
        self._catalog.cursor(self._database).close()
        self._most_unknown = max(room(_UNKNOWN * 4) // 4, 1)
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(connections)
        self._sessions: dict[int, tuple[bytes, Session]] = {}
        self._open: dict[threading.Thread, Wire] = {}
        self._unknown: dict[threading.Thread, Wire] = {}

    def serve(self, port: int, ready: Callable[[int], None], note: Callable[[str], None] = lambda _: None) -> None:
        """Answer clients until KeyboardInterrupt. Raises OSError for a port that is taken.

        `ready` is called with the port, `note` once if the system has no descriptor, memory or thread for a client.
        """
        try:
            with socket.create_server((LOOPBACK, port)) as listener:
                ready(listener.getsockname()[1])
                while True:
                    shortage = self._take(listener)
                    if shortage is not None:
                        note(f"a client had to wait ({shortage}): there is room when another one goes")
                        note = _silent
        finally:
            self._stop()

    def _take(self, listener: socket.socket) -> Exception | None:
        """Accept the next connection. If the system lacks something for it, wait for a moment and return the error."""
        try:
            self._start(listener.accept()[0])
        except ConnectionError:  # the client has gone already
            return None
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            self._drop_oldest()
            time.sleep(_AGAIN)
            return error
        return None

    def _start(self, connection: socket.socket) -> None:
        wire = Wire(connection, _START_SECONDS)
        thread = threading.Thread(target=self._converse, args=(wire,), name="sqlrag-postgres", daemon=True)
        with self._lock:
            self._open[thread] = self._unknown[thread] = wire
            is_full = len(self._unknown) > self._most_unknown
        if is_full:
            self._drop_oldest()
        try:
            thread.start()
        except BaseException:
            self._forget(thread, connection)
            raise

    def _drop_oldest(self) -> None:
        """End the connection that has been signing in for the longest, if any."""
        with self._lock:
            thread = next(iter(self._unknown), None)
            wire = None if thread is None else self._unknown.pop(thread)
        if thread is not None and wire is not None:
            wire.drop()
            if thread.is_alive():
                thread.join(_STOP_SECONDS)

    def _forget(self, thread: threading.Thread, connection: socket.socket) -> None:
        connection.close()
        with self._lock:
            self._unknown.pop(thread, None)
            self._open.pop(thread, None)

    def _stop(self) -> None:
        with self._lock:
            threads, sessions = dict(self._open), list(self._sessions.values())
        for wire in threads.values():
            wire.drop()
        for _, session in sessions:
            session.cancel()
        until = time.monotonic() + _STOP_SECONDS
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))
        self._database.close()

    def _converse(self, wire: Wire) -> None:
        """Serve one client, from its first byte to its last."""
        thread = threading.current_thread()
        try:
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            user = self._known(wire)
            if user is not None:
                with self._lock:
                    self._unknown.pop(thread, None)
                self._admitted(wire, user)
        except (Closed, ssl.SSLError):
            pass
        except (Error, OSError, MemoryError, RuntimeError) as error:  # RuntimeError: no thread can be started
            severity = error.severity if isinstance(error, FatalError) else "FATAL"
            with suppress(Closed):
                wire.send(error_response(error, sqlstate(error), severity))
                wire.flush()
        finally:
            self._forget(thread, wire.socket)

    def _known(self, wire: Wire) -> dict[str, str] | None:
        """Return a client's start-up parameters once it has signed in; None if it only cancels a statement."""
        body, code = self._first_message(wire)
        if code == _CANCEL:
            self._cancel(body)
            return None
        if code >> 16 != 3:
            raise FatalError("0A000", f"protocol {code >> 16}.{code & 0xFFFF} is not spoken here: it is 3.0")
        said = _parameters(body)
        if self._tls is not None and not isinstance(wire.socket, ssl.SSLSocket):
            raise FatalError("28000", "this server takes connections with TLS alone: sslmode=require")
        extensions = [name for name in said if name.startswith("_pq_.")]
        if code & 0xFFFF or extensions:
            wire.send(message(b"v", int32(0), int32(len(extensions)), *(text(name) for name in extensions)))
        user = said.get("user", "")
        if not user:
            raise FatalError("28000", "no user name was given: any will do, with the password")
        self._password.ask(wire, user)
        wire.stay()
        return said

    def _first_message(self, wire: Wire) -> tuple[Body, int]:
        """Return the first message after the requests for encryption, of which a client may make one of each kind."""
        for _ in range(3):
            body = wire.startup()
            code = body.int32()
            if code == _TLS and self._tls is not None and not isinstance(wire.socket, ssl.SSLSocket):
                wire.send(b"S")
                wire.flush()
                if wire.has_unread:
                    raise FatalError("08P01", "bytes came before TLS had begun")  # CVE-2021-23214
                wire.start_tls(self._tls)
            elif code in (_TLS, _GSS):
                wire.send(b"N")
                wire.flush()
            else:
                return body, code
        raise FatalError("08P01", "encryption was asked for again and again")

    def _admitted(self, wire: Wire, said: dict[str, str]) -> None:
        name = said.get("database") or said["user"]
        if name != self.name:
            raise FatalError("3D000", f'database "{name}" does not exist: this server offers "{self.name}"')
        if said.get("replication", "false").lower() not in ("false", "off", "no", "0"):
            raise FatalError("0A000", "replication is not offered here")
        settings = Settings(_settings(said))
        if not self._room.acquire(blocking=False):
            raise FatalError("53300", "there are as many clients as this server takes: close one, or try again later")
        try:
            self._session(wire, settings)
        finally:
            self._room.release()

    def _session(self, wire: Wire, settings: Settings) -> None:
        database = open_confined(self._path, self._models)
        try:
            source = Source(database, self._catalog.cursor(database))
        except BaseException:
            database.close()
            raise
        number, key = self._new_number(), secrets.token_bytes(4)
        session = Session(wire, source, settings, self._seconds)
        try:
            with self._lock:
                self._sessions[number] = (key, session)
            wire.send(message(b"K", int32(number), key))
            session.run()
        finally:
            with self._lock:
                self._sessions.pop(number, None)
            source.close()

    def _new_number(self) -> int:
        with self._lock:
            return next(number for number in iter(lambda: secrets.randbits(31), -1) if number not in self._sessions)

    def _cancel(self, body: Body) -> None:
        """Stop the statement of a session if the client has its key; it gets no reply, as the protocol says."""
        number, key = body.int32(), body.take(body.left)
        with self._lock:
            expected, session = self._sessions.get(number, (b"", None))
        if session is not None and hmac.compare_digest(expected, key):
            session.cancel()


def _silent(_: str) -> None:
    """Print nothing."""


def _parameters(body: Body) -> dict[str, str]:
    """Return the parameters of a start-up message, by name."""
    said: dict[str, str] = {}
    while body.left > 1:
        name = body.text()
        said[name] = body.text()
    if body.left != 1 or body.take(1) != b"\0":
        raise FatalError("08P01", "the first message does not end as it should")
    return said


def _settings(said: dict[str, str]) -> dict[str, str]:
    """Return the settings among start-up parameters, also those in `options`, written `-c name=value`."""
    own = ("user", "database", "options", "replication")
    found = {name: value for name, value in said.items() if name not in own and not name.startswith("_pq_.")}
    words = said.get("options", "").replace("-c ", "-c").split()
    for word in words:
        name, equals, value = word.removeprefix("--").removeprefix("-c").partition("=")
        if not equals or not word.startswith("-"):
            raise ClientError("22023", f"options has {word[:50]!r}: it takes -c name=value")
        found[name.replace("-", "_")] = value
    return found
