"""The score cache: the table sqlrag_scores of a SQLite database, or of the index file beside a DuckDB database.

It has a connection of its own, which never waits: whoever else has the file locked comes first, what could not be
written is tried again with the next statement, and what cannot be read is scored again. It is written only while the
user's connection has neither a transaction nor a statement open: so a ROLLBACK undoes what it did, and a transaction
that has read can still write (it fails once another connection has written,
https://www.sqlite.org/rescode.html#busy_snapshot).
"""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import apsw

from sqlrag.errors import Error, LockedError
from sqlrag.process.forks import at_fork
from sqlrag.process.open_files import inode_of
from sqlrag.store.driver.forked_connection import give_up, is_at_rest
from sqlrag.store.driver.opening import open_sqlite
from sqlrag.store.driver.other_libraries import close
from sqlrag.store.statements import statement
from sqlrag.store.writer import immediate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["ScoreTable", "table_in"]

# Hits alone are worth a transaction when there are so many of them; else they go with the next scores.
_MANY_HITS = 1_000
_MOST_HITS = 65_536
# Counting the rows takes a millisecond or more for 100,000: a hundredth of them leaves at a time.
_SLACK = 100
_CLOSING_TIMEOUT_MS = 100
_LARGEST_FLOAT32 = 3.4028234663852886e38

Key = tuple[bytes, bytes]
"""The hash of a model and the hash of a pair."""


class ScoreTable:
    """The score cache in a SQLite file.

    `rows`: how many scores are kept, the least recently used of them leave (several processes may exceed it, each by
    a hundredth until its next writes); None: nothing is looked up or kept, there are only `counts`. `at_rest`: tells
    whether the user's connection has nothing open.
    """

    def __init__(
        self, path: str, rows: int | None, *, read_only: bool, at_rest: Callable[[], bool] = lambda: True
    ) -> None:
        self._path = path
        self._rows = rows
        self._read_only = read_only
        self._writable = rows is not None and not read_only
        self._at_rest = at_rest
        self._connection: apsw.Connection | None = None
        self._readable = True
        self._new: dict[Key, float] = {}
        self._room = 0
        self._hits: deque[Key] = deque(maxlen=_MOST_HITS)
        # DuckDB asks from several threads.
        self._lock = threading.Lock()
        at_fork(self)

    @property
    def is_on(self) -> bool:
        """Whether scores are looked up in it, and kept."""
        return self._rows is not None and self._readable

    def read(self, model: bytes, pairs: Iterable[bytes]) -> dict[bytes, float]:
        """Return the scores of those pairs that it has, and count the hits."""
        keys = [{"model": model, "pair": pair} for pair in pairs]
        with self._lock:
            rows = self._read(lambda table: table.executemany(statement("index/scores/read"), keys))
            found = {pair: score for pair, score in rows if _is_score(score)}
            if self._writable:
                self._hits += [(model, pair) for pair in found]
        self.flush()
        return found

    def keep(self, model: bytes, scores: Mapping[bytes, float]) -> None:
        """Keep scores, when the user's connection is next at rest."""
        if not self._writable or self._rows is None:
            return
        with self._lock:
            self._new.update(((model, pair), score) for pair, score in scores.items())
            for key in list(self._new)[: -self._rows]:  # more would leave at once
                del self._new[key]
        self.flush()

    def flush(self, *, all_hits: bool = False) -> None:
        """Write what is still to be kept, if the user's connection is at rest and nobody else writes.

        `all_hits`: also where there are few hits and nothing else.
        """
        if not (self._new or len(self._hits) >= (1 if all_hits else _MANY_HITS)) or not self._at_rest():
            return
        with self._lock:
            try:
                self._write(self._connected())
            except (apsw.BusyError, apsw.LockedError, LockedError):
                return
            except (Error, apsw.Error) as error:
                _warn("%s: the score cache cannot be written: %s", self._path, error)
                self._writable = False
            self._new.clear()
            self._hits.clear()

    def counts(self) -> tuple[int, int] | None:
        """Return the number of rows and of hits, those included that are still to be written; None without a table."""
        with self._lock:
            rows = self._read(lambda table: table.execute(statement("index/scores/counts")))
            if not rows and not self.is_on:
                return None
            ((count, hits),) = rows or [(0, 0)]
            return count, hits + len(self._hits)

    def close(self) -> None:
        """Write what is left, waiting a little for another process, and close; the user's connection is closed."""
        self._at_rest = lambda: True
        if self._connection is not None:
            self._connection.set_busy_timeout(_CLOSING_TIMEOUT_MS)
        self.flush(all_hits=True)
        with self._lock:
            self._readable = self._writable = False
            if self._connection is not None:
                close(self._connection, self._path, inode_of(self._path))
                self._connection = None

    # What a fork is told (sqlrag/process/forks.py)

    def before_fork(self, seconds: float) -> bool:
        """Wait until nothing is written."""
        if not self._lock.acquire(timeout=seconds):
            return False
        if self._connection is None or is_at_rest(self._connection):
            return True
        self._lock.release()
        return False

    def after_fork(self) -> None:
        """Go on in the parent."""
        self._lock.release()

    def in_child(self, *, at_rest: bool) -> None:
        """Keep nothing in a child: what is to be written is the parent's."""
        if self._connection is not None:
            give_up(self._connection, inode_of(self._path), at_rest=at_rest)
        self._lock = threading.Lock()
        self._connection, self._rows = None, None
        self._readable = self._writable = False
        self._new, self._hits = {}, deque()

    def _write(self, table: apsw.Connection) -> None:
        rows = self._rows or 0
        with immediate(table):
            table.execute(statement("index/scores/create"))
            new = ({"model": model, "pair": pair, "score": score} for (model, pair), score in self._new.items())
            table.executemany(statement("index/scores/keep"), new)
            hits = ({"model": model, "pair": pair} for model, pair in self._hits)
            table.executemany(statement("index/scores/hit"), hits)
            if full := len(self._new) > self._room:
                table.execute(statement("index/scores/evict"), {"rows": rows - rows // _SLACK})
        self._room = rows // _SLACK if full else self._room - len(self._new)

    def _read(self, query: Callable[[apsw.Connection], Iterable[Any]]) -> list[Any]:
        """Return the rows of a query; none where there is no table, or it cannot be read."""
        if not self._readable:
            return []
        try:
            table = self._connected()
            there = list(table.execute("SELECT 1 FROM main.sqlite_schema WHERE name = 'sqlrag_scores'"))
            return list(query(table)) if there else []
        except (apsw.BusyError, apsw.LockedError, LockedError):
            return []
        except (Error, apsw.Error) as error:
            if self.is_on:
                _warn("%s: the score cache cannot be read: %s", self._path, error)
            self._readable = self._writable = False
            return []

    def _connected(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> apsw.Connection:
        # The connection that is closed last clears the WAL away, which one for reading only cannot.
        connection = open_sqlite(self._path, read_only=self._read_only, must_exist=True)
        connection.set_busy_timeout(0)
        connection.execute("PRAGMA main.synchronous = NORMAL")  # a lost last commit is scored again
        # The file may come from a stranger: nothing of it is run, and the table is a table.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        return connection


def table_in(connection: apsw.Connection, rows: int | None, *, read_only: bool = False) -> ScoreTable:
    """Return the score cache in the file of an APSW connection."""
    if not connection.filename:  # in memory, as the scores are anyway
        return ScoreTable(":memory:", None, read_only=True)

    def at_rest() -> bool:
        return connection.getautocommit() and connection.txn_state() == apsw.SQLITE_TXN_NONE

    read_only = read_only or connection.readonly("main")
    return ScoreTable(connection.filename, rows, read_only=read_only, at_rest=at_rest)


def _warn(message: str, *values: object) -> None:
    import logging  # 3 ms that a process without trouble does without

    logging.getLogger("sqlrag").warning(message, *values)


def _is_score(value: object) -> bool:
    """Tell whether a value can be a score: a REAL within float32's range."""
    return type(value) is float and math.isfinite(value) and abs(value) <= _LARGEST_FLOAT32
