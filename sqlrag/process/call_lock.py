"""The lock that lets threads share a `Database`: one call runs at a time, the others wait.

A connection of either engine refuses a second call while one runs. A transaction belongs to the connection, too: a
statement of another thread in the middle of a sync would see half of its changes.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from sqlrag.errors import DatabaseError
from sqlrag.process.ending import park
from sqlrag.process.forks import Owned, renew_locks
from sqlrag.process.open_files import inode_of

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["CallLock", "longest_call", "one_at_a_time"]

_STOP_AGAIN = 0.02
"""Seconds between two interrupts: one has no effect if it falls between two statements of a call."""

_all: weakref.WeakSet[CallLock] = weakref.WeakSet()
_all_lock = threading.Lock()
renew_locks(sys.modules[__name__])


def longest_call() -> float:
    """Return the seconds that the longest of the calls running in this process has taken, 0 if none runs."""
    now = time.monotonic()
    with _all_lock:
        locks = list(_all)
    return max((now - since for since in (lock.since for lock in locks) if since is not None), default=0.0)


class CallLock(Owned):
    """A reentrant lock, held during a call, that the thread which holds it can lend to one that works for it.

    `path`: of the database, which must be open already, as its inode is noted here. `look` is called at the beginning
    of each method that `one_at_a_time` wraps. `since`: when the running call began (`time.monotonic`), None if none
    runs.
    """

    def __init__(self, path: str, look: Callable[[], None] = lambda: None) -> None:
        super().__init__(path)
        self.look = look
        self._absolute = os.path.abspath(path)  # the process may change its folder
        self._file = None if path == ":memory:" else inode_of(self._absolute)
        self.since: float | None = None
        self._lock = threading.RLock()
        self._depth = 0
        self._borrowers: set[int] = set()
        self.is_closed = False
        """Whether the database is closed: the lock cannot be taken any more."""
        with _all_lock:
            _all.add(self)

    def check(self) -> None:
        """Raise DatabaseError in a forked child, and when the database is closed."""
        self.check_process()
        if self.is_closed:
            raise DatabaseError("this database is closed: open it again with sqlrag.connect()")

    def check_file(self) -> None:
        """Raise DatabaseError if the path no longer leads to the file that is open.

        Writes to a replaced file are lost with it, and reads from it are out of date.
        """
        if self._file is not None and inode_of(self._absolute) != self._file:
            raise DatabaseError(
                f"{self._path} was moved, deleted or replaced while it was open: close this connection, which has the "
                f"old file, remove {os.path.basename(self._path)}-wal and -shm (on DuckDB .wal) if they are the old "
                "file's, and open it again"
            )

    def __enter__(self) -> None:
        self.check()
        if threading.get_ident() not in self._borrowers:
            self._lock.acquire()
            if self.is_closed:  # by another thread, while this one waited
                self._lock.release()
                self.check()
            if not self._depth:
                self.since = time.monotonic()
            self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if threading.get_ident() not in self._borrowers and not self.is_inherited:
            self._depth -= 1
            is_last = not self._depth
            if is_last:
                self.since = None
            self._lock.release()
            if is_last:
                park()

    def acquire_for_close(self, stop: Callable[[], None], seconds: float) -> bool:
        """Take the lock for good, to close the database; return False if it could not be had within `seconds`.

        `stop` interrupts the call of another thread. It is called again and again while the lock is held.
        """
        until = time.monotonic() + seconds
        while not self._lock.acquire(timeout=_STOP_AGAIN):
            if time.monotonic() > until:
                return False
            stop()
        return True

    def pause(self, seconds: float) -> bool:
        """Wait until no call runs, and let none begin before `resume`; return False if that takes over `seconds`."""
        if not self._lock.acquire(timeout=seconds):
            return False
        at_rest = not self._depth  # otherwise this thread itself is in the middle of a call
        if not at_rest:
            self._lock.release()
        return at_rest

    def resume(self) -> None:
        """Let calls begin again after `pause`."""
        self._lock.release()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let this thread in while another, which waits for it, holds the lock: DuckDB runs functions in its own."""
        me = threading.get_ident()
        if me in self._borrowers:
            yield
            return
        self._borrowers.add(me)
        try:
            yield
        finally:
            self._borrowers.discard(me)


class _HasCallLock(Protocol):
    @property
    def _call_lock(self) -> CallLock: ...


Owner = TypeVar("Owner", bound=_HasCallLock)
Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def one_at_a_time(
    method: Callable[Concatenate[Owner, Arguments], Returned],
) -> Callable[Concatenate[Owner, Arguments], Returned]:
    """Make a method hold the lock of its object while it runs."""

    @wraps(method)
    def waiting(self: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        with self._call_lock:
            self._call_lock.look()
            self._call_lock.check_file()
            try:
                return method(self, *args, **kwargs)
            except OSError as error:  # also Python's own, from a lazy import
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                raise DatabaseError(
                    f"this process has no file descriptor left ({error}): close other files, or raise `ulimit -n`; "
                    "what was committed is intact"
                ) from error

    return waiting
