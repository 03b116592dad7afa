"""The session of a DuckDB connection: what its SQL functions need, found by a token.

All connections of a process to one file share the registered functions (`instance_functions`). Each macro therefore
passes the token of its connection. An unknown token, or that of a closed connection, is an error.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from sqlrag.errors import SQLError, UnknownIndexError
from sqlrag.process.ending import is_ending

if TYPE_CHECKING:
    from sqlrag.engines.duckdb.error_translation import Raised
    from sqlrag.engines.duckdb.indexes import DuckDBIndexes
    from sqlrag.engines.functions import Functions
    from sqlrag.store.registry import IndexRecord

__all__ = ["Session", "session_of"]


class Session:
    """The settings, indexes and errors of one connection, or, if `served`, of all clients of a server, in turns."""

    def __init__(self, functions: Functions, indexes: DuckDBIndexes, raised: Raised, *, served: bool = False) -> None:
        self.token = secrets.token_hex(16)
        self.functions = functions
        self.indexes = indexes
        self.raised = raised
        self.turns: AbstractContextManager[Any] = indexes.lock if served else nullcontext()
        self.working = 0
        """The number of its function calls that are running."""
        self._counting = threading.Lock()
        self.key_type = "BIGINT"
        self.maintenance: dict[str, Callable[..., int]] = {}
        self.asking: Callable[[IndexRecord], None] = lambda _: None
        """Called with each index that a statement searches, before it is searched."""
        self._transaction: object = None
        _open[self.token] = self

    def in_transaction(self, number: object) -> None:
        """Begin a new statement for `rerank_limit` if the transaction differs from that of the last call."""
        if number != self._transaction:
            self._transaction = number
            self.functions.begin_counting()  # its candidates are found already

    def asks(self, name: object) -> None:
        """Note that a statement searches an index. The index function itself refuses an unknown name."""
        with suppress(UnknownIndexError):
            self.asking(self.indexes.record(name))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count a function call. Raises SQLError, before or after the call, if the interpreter is ending."""
        with self._counting:
            self.working += 1
        try:
            _check_not_ending()
            yield
            _check_not_ending()
        finally:
            with self._counting:
                self.working -= 1

    def end(self) -> None:
        """Make the token invalid."""
        _open.pop(self.token, None)


_open: WeakValueDictionary[str, Session] = WeakValueDictionary()


def session_of(token: object) -> Session:
    """Return the session of a token. Raises SQLError for an unknown token."""
    session = _open.get(token) if isinstance(token, str) else None
    if session is None:
        raise SQLError(
            "a function of sqlrag was called under its internal name, or for a connection that has been closed: call "
            "it as the SQL reference names it, such as search('chunks', 'a question'), on a connection that is open"
        )
    return session


def _check_not_ending() -> None:
    if is_ending():  # sqlrag/engines/duckdb/at_exit.py waits for the statement
        raise SQLError("the interpreter is ending, and this statement was stopped")
