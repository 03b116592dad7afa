"""Closing databases at the end of the interpreter, while daemon threads may still use them.

DuckDB 2.0 writes to stderr for each connection with a Python function that is still open after that. A thread that then
returns from DuckDB to Python crashes the process (SIGABRT, SIGSEGV), or makes it wait for ever.
"""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import duckdb

from sqlrag.errors import Error
from sqlrag.process.ending import at_end, begin_ending
from sqlrag.process.forks import in_child, leave

if TYPE_CHECKING:
    from sqlrag.engines.duckdb.session import Session
    from sqlrag.process.call_lock import CallLock

__all__ = ["close_at_exit", "close_registered_at_exit"]

_SECONDS = 10.0
"""How long to wait for running statements: a model cannot be stopped in the middle of a batch."""

_STEP = 0.02
_UNWINDING = 0.2
"""Seconds that a statement needs to end after its function has raised."""


class _Owner(Protocol):
    """A `DuckDBEngine`, as far as this module uses it."""

    call_lock: CallLock

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


_owners: weakref.WeakSet[_Owner] = weakref.WeakSet()
_registered: weakref.WeakKeyDictionary[duckdb.DuckDBPyConnection, Session] = weakref.WeakKeyDictionary()


def close_at_exit(owner: _Owner) -> None:
    """Close a database when the interpreter ends."""
    _owners.add(owner)


def close_registered_at_exit(connection: duckdb.DuckDBPyConnection, session: Session) -> None:
    """Close a connection that the user opened when the interpreter ends."""
    _registered[connection] = session


@in_child
def _leave_all() -> None:
    """Forget the parent's connections in a forked child."""
    leave(*_registered)
    _registered.clear()
    _owners.clear()


def _close_all() -> None:
    begin_ending()
    for owner in list(_owners):
        if owner.call_lock.acquire_for_close(owner.interrupt, _SECONDS):
            with suppress(Error, duckdb.Error):
                owner.close()
    _close_registered()


def _close_registered() -> None:
    """Close the connections that the user opened, as soon as no thread runs in them.

    Their functions raise from now on. That error ends the threads that called them, and is not printed.
    """
    sessions = list(_registered.values())
    if sessions and threading.active_count() > 1:
        threading.excepthook = _say_nothing
        until = time.monotonic() + _SECONDS
        while any(session.working for session in sessions) and time.monotonic() < until:
            time.sleep(_STEP)
        time.sleep(_UNWINDING)
        if not hasattr(duckdb, "ResourceInUseException"):
            return  # DuckDB 1 would wait for a thread that itself waits for the interpreter
    for connection in list(_registered):
        with suppress(duckdb.Error):
            connection.close()


def _say_nothing(_: threading.ExceptHookArgs) -> None: ...


at_end(_close_all)
