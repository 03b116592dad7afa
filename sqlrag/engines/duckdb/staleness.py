"""What the statements of one DuckDB connection ask of its indexes, and what of it they could not be told.

An index function finds out that its index lacks rows when the statement runs already. A statement outside of a
transaction is stopped then, which undoes it; the rows are brought in, and it runs again. In a transaction of the
user's that would undo all of the transaction, and a result that is being read cannot be taken back: there the user is
warned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlrag.engines.duckdb.error_translation import StaleIndexError
from sqlrag.errors import Error

if TYPE_CHECKING:
    from sqlrag.store.registry import IndexRecord

__all__ = ["Asking"]

_MOST_TIMES = 8
"""So often a statement runs at most, while others write the indexes that it asks."""


class Asking:
    """The indexes that one statement asks.

    `stale` returns how many rows an index lacks, as far as it is cheap to know.
    """

    def __init__(self, stale: Callable[[IndexRecord], int]) -> None:
        self._stale = stale
        self.may_stop = False
        """Whether the statement that runs can be stopped and run again."""
        self.asked: dict[str, IndexRecord] = {}
        """The record that each index had when the statement first asked it."""
        self.late: dict[str, IndexRecord] = {}
        """Indexes that lacked rows when the statement could not be stopped."""
        self.newer: dict[str, IndexRecord] = {}
        """Indexes that were written after the statement had asked them, and before it asked them again."""
        self.known: dict[str, int] = {}
        """The versions of indexes that have been seen before: what a statement reads of their tables is no older."""
        self._in_transaction = False
        self._fresh: set[str] = set()
        self._times = 0

    def begin(self, *, may_stop: bool, in_transaction: bool) -> None:
        """Begin another statement, perhaps in a transaction of the user's.

        What such a transaction sees its own connection alone can tell, which a function that runs inside of the
        statement cannot ask: that is for afterwards.
        """
        self.may_stop = may_stop
        self._in_transaction = in_transaction
        self.asked, self.late, self.newer, self._fresh = {}, {}, {}, set()
        self._times = 0

    def is_fresh(self, record: IndexRecord) -> bool:
        """Tell whether an index has been brought up to date for this statement, as far as it can be."""
        return record.name in self._fresh

    def again(self, record: IndexRecord) -> None:
        """Begin the same statement again, after an index has been brought up to date as far as it can be."""
        self.asked, self.late, self.newer = {}, {}, {}
        self._fresh.add(record.name)
        self._times += 1
        self.may_stop = self._times < _MOST_TIMES

    def __call__(self, record: IndexRecord) -> None:
        """Note that an index is asked; called while the statement runs, perhaps in a thread of DuckDB's.

        Raises StaleIndexError where the index lacks rows that can be brought in before the statement runs again; and
        where another connection has written the index, perhaps after the statement began, which would not see what the
        index finds.
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
        except Error:  # what brings rows in will say what is wrong
            is_stale = True
        if is_stale and self.may_stop:
            raise StaleIndexError(record)
        if is_stale:
            self.late[record.name] = record
        self._fresh.add(record.name)
