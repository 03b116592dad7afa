"""Threads that share a `Database` take turns: one call at a time, the others wait.

A connection of either engine refuses a second call while one runs, and a transaction belongs to the connection: what
another thread asked in the middle of a sync would see half of it.
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

__all__ = ["Turns", "in_turn", "longest_turn"]

_STOP_AGAIN = 0.02
"""Seconds between two attempts to stop: one can fall between the statements that a call is made of."""

_all: weakref.WeakSet[Turns] = weakref.WeakSet()
_all_lock = threading.Lock()
renew_locks(sys.modules[__name__])


def longest_turn() -> float:
    """Return for how many seconds the longest call of an engine runs now, of any connection of this process."""
    now = time.monotonic()
    with _all_lock:
        turns = list(_all)
    return max((now - since for since in (one.since for one in turns) if since is not None), default=0.0)


class Turns(Owned):
    """A lock that a thread may take again, and lend to another one that works for it; `path`: of the database.

    `since`: when the turn began that is being had (`time.monotonic`); None while nobody has one. `look` is called at
    the beginning of each method that takes a turn. Made when the file is open: it is the one that stays.
    """

    def __init__(self, path: str, look: Callable[[], None] = lambda: None) -> None:
        super().__init__(path)
        self.look = look
        self._absolute = os.path.abspath(path)  # wherever the process goes
        self._file = None if path == ":memory:" else inode_of(self._absolute)
        self.since: float | None = None
        self._lock = threading.RLock()
        self._depth = 0
        self._borrowers: set[int] = set()
        self.over = False
        """Whether the database is closed: nobody has a turn any more."""
        with _all_lock:
            _all.add(self)

    def check(self) -> None:
        """Raise DatabaseError in a forked child, and when the database is closed."""
        self.check_process()
        if self.over:
            raise DatabaseError("this database is closed: open it again with sqlrag.connect()")

    def check_file(self) -> None:
        """Raise DatabaseError where the path means another file than the one that is open, or none.

        What is written to a file that has been replaced is lost with it, and what is read there is old.
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
            if self.over:  # while this one waited
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
            is_over = not self._depth
            if is_over:
                self.since = None
            self._lock.release()
            if is_over:
                park()

    def take_last(self, stop: Callable[[], None], seconds: float) -> bool:
        """Take the last turn there is; tell whether it was to be had in time. `stop` ends what the others do."""
        until = time.monotonic() + seconds
        while not self._lock.acquire(timeout=_STOP_AGAIN):
            if time.monotonic() > until:
                return False
            stop()
        return True

    def pause(self, seconds: float) -> bool:
        """Wait until no turn is taken, and let nobody take one until `resume`; False where that would take longer."""
        if not self._lock.acquire(timeout=seconds):
            return False
        at_rest = not self._depth  # else this thread is in the midst of a call
        if not at_rest:
            self._lock.release()
        return at_rest

    def resume(self) -> None:
        """Let turns be taken again."""
        self._lock.release()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let this thread work inside of the turn of another, which waits for it: DuckDB runs functions in its own."""
        me = threading.get_ident()
        if me in self._borrowers:
            yield
            return
        self._borrowers.add(me)
        try:
            yield
        finally:
            self._borrowers.discard(me)


class _HasTurns(Protocol):
    @property
    def _turns(self) -> Turns: ...


Owner = TypeVar("Owner", bound=_HasTurns)
Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def in_turn(
    method: Callable[Concatenate[Owner, Arguments], Returned],
) -> Callable[Concatenate[Owner, Arguments], Returned]:
    """Make a method wait for its turn."""

    @wraps(method)
    def waiting(self: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        with self._turns:
            self._turns.look()
            self._turns.check_file()
            try:
                return method(self, *args, **kwargs)
            except OSError as error:  # such as Python's own, of a module that is imported when it is needed
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                raise DatabaseError(
                    f"this process has no file descriptor left ({error}): close other files, or raise `ulimit -n`; "
                    "what was committed is intact"
                ) from error

    return waiting
