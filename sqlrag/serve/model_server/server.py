"""The server: it accepts clients, a thread for each, and ends when no client has sent anything for a while."""

from __future__ import annotations

import fcntl
import hmac
import os
import select
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import sqlrag
from sqlrag.engines.sqlite.functions import vec_library
from sqlrag.errors import ServerError
from sqlrag.models.loaded import load_embedder, load_reranker
from sqlrag.process.descriptors import accepted, room
from sqlrag.serve.model_server.channel import Channel
from sqlrag.serve.model_server.protocol import VERSION
from sqlrag.serve.model_server.queued_models import queue_models
from sqlrag.serve.model_server.session import MODEL_SECONDS, Session, refuse
from sqlrag.serve.model_server.socket_path import TOKEN, check_folder, check_peer, model_name
from sqlrag.values.arguments import DEFAULT_IDLE_SECONDS

__all__ = ["MOST_CLIENTS", "START_SECONDS", "ModelServer"]

MOST_CLIENTS = 64
"""Clients at a time; fewer if the process may not have enough descriptors."""

START_SECONDS = 60.0
"""Seconds for a server to open its models on a busy machine."""

_DESCRIPTORS = 3
"""Descriptors of a client: its connection, and the pair of sockets that ends its wait for the models."""

_TICK = 1.0
"""Seconds between two WORKING frames."""

_LOOK = 0.05
"""Seconds between two attempts to take the lock."""

_MOMENT = 1.0
"""Seconds within which the threads of disconnected clients close their sockets, even on a busy machine."""

_BACKLOG = 128
"""Connections that the system keeps until they are accepted."""


class ModelServer:
    """The models of one process, for the clients of one user.

    `path`: of the socket. `reranker`: the name or folder of another reranker than the default. `idle`: the server ends
    after so many seconds in which no client has sent anything. Raises ServerError if a server runs at this path
    already, or the socket's folder is not safe.
    """

    def __init__(self, path: Path, *, reranker: str | None = None, idle: float = DEFAULT_IDLE_SECONDS) -> None:
        self.path = path
        self.reranker = model_name(reranker)
        self._idle = idle
        self._token = os.environ.get(TOKEN)
        self._started = self._touched = time.monotonic()
        self._sessions: dict[Session, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = False
        self._asked_by: Channel | None = None
        self._calls_before = 0
        check_folder(path, make=True)
        self._held = _only_one(path)
        queue_models()
        self._warm_up()
        self._listening = _listen(path)
        self._room = room(MOST_CLIENTS, _DESCRIPTORS)
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is called, or no client has sent anything for a while. `ready` is called at the start."""
        threading.Thread(target=self._tick, name="sqlrag-tick", daemon=True).start()
        ready()
        try:
            while not self._stopping:
                found, _, _ = select.select([self._listening, self._woken], [], [], self._time_left() or _TICK)
                if self._listening in found and not self._stopping:
                    self._take_in()
                elif not self._time_left() and not any(session.in_call for session in self._all()):
                    self._stopping = True
        finally:
            self._end()

    def stop(self, asked_by: Channel | None = None) -> None:
        """Accept no more clients; `run` returns when the running calls have finished. May be called from any thread.

        `asked_by`: a connection that stays open until the process ends, so that the client sees when it has.
        """
        self._asked_by = asked_by
        self._stopping = True
        with suppress(OSError):
            self._waker.send(b"\0")

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` has been called."""
        return self._stopping

    def touch(self) -> None:
        """Remember that a client has just sent something."""
        self._touched = time.monotonic()

    def check_token(self, token: object) -> None:
        """Raise ServerError for a client without the token, if the server has one."""
        if self._token is None:
            return
        given = token if isinstance(token, str) else ""
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise ServerError(f"the token is not the server's: set {TOKEN} as it was for `sqlrag serve`")

    def welcome(self) -> list[str | int]:
        """Return the values of WELCOME."""
        return [VERSION, sqlrag.__version__, os.getpid(), vec_library()]

    def status(self) -> list[tuple[str, str | int | float | None]]:
        """Return the answer to STATUS: names and values."""
        sessions = self._all()
        return [
            ("version", sqlrag.__version__),
            ("protocol", VERSION),
            ("pid", os.getpid()),
            ("socket", str(self.path)),
            ("reranker", self.reranker),
            ("seconds", round(time.monotonic() - self._started, 1)),
            ("idle_seconds", self._idle),
            ("clients", len(sessions)),
            ("calls_running", sum(session.in_call > 0 for session in sessions)),
            ("calls", sum(session.calls for session in sessions) + self._calls_before),
            ("rss_bytes", _rss()),
            ("names", ", ".join(sorted({session.name for session in sessions if session.name}))),
        ]

    def log(self, message: str) -> None:
        """Write a line to stderr."""
        print(f"sqlrag serve: {message}", file=sys.stderr, flush=True)  # noqa: T201

    def _all(self) -> list[Session]:
        with self._lock:
            return list(self._sessions)

    def _time_left(self) -> float:
        return max(self._touched + self._idle - time.monotonic(), 0)

    def _session(self, channel: Channel) -> Session:
        """Return a new session. Sessions that were ended for it take a moment to close their descriptors."""
        until = time.monotonic() + _MOMENT
        while True:
            self._make_room()
            try:
                return Session(channel, self)
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(_MOMENT / 20)

    def _take_in(self) -> None:
        connection = accepted(self._listening)
        if connection is None:
            return
        channel = Channel(connection)
        try:
            check_peer(connection)
            session = self._session(channel)
        except ServerError as error:
            refuse(channel, error)
            return
        except OSError as error:  # there are no descriptors left
            refuse(channel, ServerError(f"the model server cannot take a client: {error}"))
            return
        self.touch()
        thread = threading.Thread(target=self._serve, args=(session, channel), name="sqlrag-client", daemon=True)
        with self._lock:
            self._sessions[session] = thread
        thread.start()

    def _make_room(self) -> None:
        """If there are as many clients as allowed, end the oldest connection that has not sent HELLO."""
        there = [session for session in self._all() if not session.is_ended]
        if len(there) < self._room:
            return
        unknown = next((session for session in there if not session.is_known), None)
        if unknown is None:
            raise ServerError(f"the model server has {self._room} clients, which is its limit: try again later")
        unknown.end()

    def _serve(self, session: Session, channel: Channel) -> None:
        try:
            session.run()
        finally:
            with self._lock:
                del self._sessions[session]
                self._calls_before += session.calls
            if channel is not self._asked_by:
                channel.close()

    def _tick(self) -> None:
        """Send WORKING to all clients that wait, every second."""
        while True:
            time.sleep(_TICK)
            for session in self._all():
                session.working()

    def _warm_up(self) -> None:
        """Run both models once, so that models and libraries are loaded before several threads use them.

        Raises UnknownModelError if there is no such reranker.
        """
        load_embedder().encode_query("")
        load_reranker(self.reranker).score("", [""])

    def _end(self) -> None:
        """Let running calls finish, end all connections, and remove the socket."""
        self._listening.close()
        with suppress(FileNotFoundError):
            self.path.unlink()
        until = time.monotonic() + MODEL_SECONDS
        with self._lock:
            sessions = list(self._sessions.items())
        for session, _ in sessions:
            session.end_if_idle()
        for session, thread in sessions:
            thread.join(max(until - time.monotonic(), 0))
            session.end()
        os.close(self._held)


def _only_one(path: Path) -> int:
    """Take the lock beside the socket, for as long as the process lives; return its descriptor.

    It waits for a server that is starting or ending. Raises ServerError if another one serves.
    """
    held = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return held
        except BlockingIOError:
            if _answers(path) or time.monotonic() > until:
                os.close(held)
                raise ServerError(f"a server runs already at {path}: sqlrag status, sqlrag stop") from None
        time.sleep(_LOOK)


def _answers(path: Path) -> bool:
    """Tell whether a process listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_TICK)
        return asking.connect_ex(str(path)) == 0


def _listen(path: Path) -> socket.socket:
    """Return a listening socket of mode 0600, in the place of one that a killed server has left."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ServerError(f"{path} is in the way: it is no socket")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    except OSError as error:
        raise ServerError(f"{path} cannot be a socket: {error}") from error
    finally:
        os.umask(before)
    listening.listen(_BACKLOG)
    listening.setblocking(False)  # a client that leaves before it is accepted would block others
    return listening


def _rss() -> int | None:
    """Return the bytes of memory of the process, None on a system without /proc (proc(5))."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
