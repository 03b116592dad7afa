"""Before an index is asked: bring in a small backlog, and warn of the rows that remain.

An engine decides when an index is asked, and calls `Freshness.freshen` for each one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.engines.backlog_warnings import lacks, warn
from sqlrag.errors import Error, LockedError

if TYPE_CHECKING:
    from sqlrag.engines.base import Engine
    from sqlrag.store.registry import IndexRecord

__all__ = ["Freshness"]

STEP_ROWS = 16
STEP_CHARS = 5_000
"""Rows and characters that a query brings in at a time."""

LONGEST = 20_000
"""Characters: a row with a longer text takes longer than a query waits, and is left to `sync`."""

SECONDS = 0.25
"""After so long a query begins no further step, but goes on with what the index has, and warns of what it lacks."""


class Freshness:
    """What one connection does about rows that its indexes do not have yet."""

    def __init__(self, engine: Engine, rows: int, remedy: str | None = None) -> None:
        """`remedy`: what brings in the rest."""
        self._engine = engine
        self._rows = rows
        self._remedy = remedy or f"call sync(), or run: sqlrag sync {engine.path}"

    def freshen(self, record: IndexRecord, *, late: str | None = None) -> None:
        """Bring in what is queued for an index, `rows` at most; one over documents is left alone.

        It is done in small steps, and no further one is begun after SECONDS, so that a query waits for little more than
        that, whoever else writes. Warns (BacklogWarning) of what is left: more than that, or all of it where this
        connection cannot write now. `late`: nothing can be brought in for this statement any more, and why.
        """
        for message in self._lacks(record, late):
            warn(message)

    def _lacks(self, record: IndexRecord, late: str | None) -> list[str]:
        """Bring in what is queued; return what the index may lack then, a sentence each."""
        if not record.is_over_table:
            return []
        try:
            return self._behind(record, late)
        except Error as error:  # a table that is gone, a writer that takes its time, a full disk, no such model
            return [f"index {record.name!r} could not be brought up to date: {error}"]

    def _behind(self, record: IndexRecord, late: str | None) -> list[str]:
        backlog = self._engine.stale(record)
        hindrance = late or self._engine.hindrance()
        if backlog and (others := self._engine.other_triggers(record)):
            message = (
                f"index {record.name!r} is not brought up to date before a query, since its table has triggers "
                f"that are not sqlrag's ({', '.join(others)}) and would run: call sync() if you want that"
            )
            return [message]
        if backlog and self._rows and hindrance is None:
            backlog = self._brought_in(record)
        return [f"{lack}: {self._remedy}" for lack in lacks(record, backlog, self._engine.gap(record), hindrance)]

    def warn_of_newer(self, record: IndexRecord, what: str) -> None:
        """Warn that an index is newer than what a transaction or statement of the user's sees of its chunk table."""
        warn(
            f"index {record.name!r} has been written since this {what} began, which does not see the new chunks and "
            f"joins no row to their hits: end the {what}, then ask again"
        )

    def warn_of_view(self, record: IndexRecord) -> None:
        """Warn that a view which may read other files, or have no end, is not read for a question's sake."""
        warn(
            f"index {record.name!r} is over the view {record.source_table}, which reads more than this database's "
            "tables: its hits come without metadata until you call sync() on this connection, or give a filter"
        )

    def _brought_in(self, record: IndexRecord) -> int:
        """Bring in what is queued, as far as a query waits for it; return how many rows are left."""
        from sqlrag.engines.changed_rows import Limits
        from sqlrag.indexing.table_indexes import sync

        limits = Limits(self._rows, STEP_ROWS, STEP_CHARS, LONGEST, SECONDS)
        try:
            with self._engine.hurried():
                return sync(self._engine, record.name, limits=limits).backlog
        except LockedError:  # others are writing, for longer than a query waits
            return self._engine.stale(record)
