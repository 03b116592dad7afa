"""What the SQL functions of one DuckDB connection work with, found by a token.

All connections of a process to one file share the functions that are registered in it (`instance_functions`), so a
macro passes the token of its connection to them. A token of nobody, or of a closed connection, is an error.
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
    """The settings, indexes and errors of one connection; `served`: all sessions of a server share it, in turns."""

    def __init__(self, functions: Functions, indexes: DuckDBIndexes, raised: Raised, *, served: bool = False) -> None:
        self.token = secrets.token_hex(16)
        self.functions = functions
        self.indexes = indexes
        self.raised = raised
        self.turns: AbstractContextManager[Any] = indexes.lock if served else nullcontext()
        self.working = 0
        """How many calls of its functions run."""
        self._counting = threading.Lock()
        self.key_type = "BIGINT"
        self.maintenance: dict[str, Callable[..., int]] = {}
        self.asking: Callable[[IndexRecord], None] = lambda _: None
        """Called for each index that a statement asks, when it asks."""
        self._transaction: object = None
        _open[self.token] = self

    def in_transaction(self, number: object) -> None:
        """Begin a new statement for `rerank_limit` where this is another transaction than at the last call."""
        if number != self._transaction:
            self._transaction = number
            self.functions.begin_statement()

    def asks(self, name: object) -> None:
        """Tell that a statement asks an index; a name that is none's is for the index function to refuse."""
        with suppress(UnknownIndexError):
            self.asking(self.indexes.record(name))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count what runs inside. Raises SQLError before and after it if the interpreter ends."""
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
        """Let the token be nobody's from now on."""
        _open.pop(self.token, None)


_open: WeakValueDictionary[str, Session] = WeakValueDictionary()


def session_of(token: object) -> Session:
    """Return the session of a token. Raises SQLError where there is none."""
    session = _open.get(token) if isinstance(token, str) else None
    if session is None:
        raise SQLError(
            "a function of sqlrag was called under its internal name, or for a connection that has been closed: call "
            "it as the SQL reference names it, such as search('chunks', 'a question'), on a connection that is open"
        )
    return session


def _check_not_ending() -> None:
    if is_ending():  # sqlrag/engines/duckdb/at_exit.py waits for the statement
        raise SQLError("the interpreter ends, and with it this statement")
