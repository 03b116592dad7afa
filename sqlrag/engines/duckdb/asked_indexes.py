"""The indexes that a statement on a DuckDB connection searches, and whether they lacked rows at that moment.

An index function finds out that its index lacks rows while the statement already runs. Outside a transaction the
statement is then stopped, which undoes it, the rows are indexed, and it runs again. Within the user's transaction that
would undo the whole transaction, and a result of which rows were read cannot be taken back: then the user is warned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlrag.engines.duckdb.error_translation import StaleIndexError
from sqlrag.errors import Error

if TYPE_CHECKING:
    from sqlrag.store.registry import IndexRecord

__all__ = ["AskedIndexes"]

_MOST_TIMES = 8
"""How often a statement runs at most while others write the indexes that it asks."""


class AskedIndexes:
    """The indexes that one statement searches. `stale` returns how many rows an index lacks."""

    def __init__(self, stale: Callable[[IndexRecord], int]) -> None:
        self._stale = stale
        self.may_stop = False
        """Whether the running statement can be stopped and run again."""
        self.asked: dict[str, IndexRecord] = {}
        """The record that each index had when the statement first searched it."""
        self.late: dict[str, IndexRecord] = {}
        """Indexes that lacked rows when the statement could not be stopped."""
        self.newer: dict[str, IndexRecord] = {}
        """Indexes that were written between two searches of the same statement."""
        self.known: dict[str, int] = {}
        """The version of each index that was seen last. What a statement reads of its tables is at least as new."""
        self._in_transaction = False
        self._fresh: set[str] = set()
        self._times = 0

    def begin(self, *, may_stop: bool, in_transaction: bool) -> None:
        """Begin another statement, perhaps in a transaction of the user's.

        Only the user's connection knows what such a transaction sees, and a function within the statement cannot use
        that connection. So this is found out afterwards.
        """
        self.may_stop = may_stop
        self._in_transaction = in_transaction
        self.asked, self.late, self.newer, self._fresh = {}, {}, {}, set()
        self._times = 0

    def is_fresh(self, record: IndexRecord) -> bool:
        """Tell whether an index was brought up to date for this statement, as far as possible."""
        return record.name in self._fresh

    def again(self, record: IndexRecord) -> None:
        """Begin the same statement again, after an index was brought up to date as far as possible."""
        self.asked, self.late, self.newer = {}, {}, {}
        self._fresh.add(record.name)
        self._times += 1
        self.may_stop = self._times < _MOST_TIMES

    def __call__(self, record: IndexRecord) -> None:
        """Note that the running statement searches an index; may be called in a thread of DuckDB's.

        Raises StaleIndexError if the index lacks rows that can be indexed before the statement runs again. Also raises
        it if another connection has written the index: the statement may have begun before, and would not see the rows
        that the index finds.
        """
        before = self.asked.setdefault(record.name, record)
        if before.version != record.version:
            self.newer[record.name] = record
        if self._in_transaction:
            return
        known, self.known[record.name] = self.known.get(record.name), record.version
        if known != record.version and self.may_stop:
            raise StaleIndexError(record)
        if not record.is_over_table or record.name in self._fresh:
            return
        try:
            is_stale = self._stale(record) > 0
        except Error:  # indexing the rows will raise it
            is_stale = True
        if is_stale and self.may_stop:
            raise StaleIndexError(record)
        if is_stale:
            self.late[record.name] = record
        self._fresh.add(record.name)
