"""Before each query, index the rows that changed; warn if some remain.

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
"""The most rows and characters that a query indexes at a time."""

LONGEST = 20_000
"""In characters: a query does not wait for a row with a longer text, which is left to `sync`."""

SECONDS = 0.25
"""After this time a query begins no further step. It uses what the index has, and warns of what it lacks."""


class Freshness:
    """What one connection does about changed rows that its indexes do not have yet."""

    def __init__(self, engine: Engine, rows: int, remedy: str | None = None) -> None:
        """`rows`: the most rows that a query indexes. `remedy`: what the warnings advise."""
        self._engine = engine
        self._rows = rows
        self._remedy = remedy or f"call sync(), or run: sqlrag sync {engine.path}"

    def freshen(self, record: IndexRecord, *, late: str | None = None) -> None:
        """Index the queued rows of an index over a table, up to the limit.

        This is done in small steps, and none begins after SECONDS, so that a query waits for little more than that
        whoever else writes. If rows remain, or if this connection cannot write now, a BacklogWarning is issued.
        `late`: why no row can be indexed for this statement any more.
        """
        for message in self._lacks(record, late):
            warn(message)

    def _lacks(self, record: IndexRecord, late: str | None) -> list[str]:
        """Index queued rows; return what the index may lack afterwards, a sentence each."""
        if not record.is_over_table:
            return []
        try:
            return self._behind(record, late)
        except Error as error:  # the table is gone, another process writes, the disk is full, the model is missing ...
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
        """Warn that a transaction or statement of the user's sees an older chunk table than the index."""
        warn(
            f"index {record.name!r} has been written since this {what} began, which does not see the new chunks and "
            f"joins no row to their hits: end the {what}, then ask again"
        )

    def warn_of_view(self, record: IndexRecord) -> None:
        """Warn that a query does not read a view that may read other files, or that may never end."""
        warn(
            f"index {record.name!r} is over the view {record.source_table}, which reads more than this database's "
            "tables: its hits come without metadata until you call sync() on this connection, or give a filter"
        )

    def _brought_in(self, record: IndexRecord) -> int:
        """Index queued rows as far as a query waits for it; return how many remain."""
        from sqlrag.engines.changed_rows import Limits
        from sqlrag.indexing.table_indexes import sync

        limits = Limits(self._rows, STEP_ROWS, STEP_CHARS, LONGEST, SECONDS)
        try:
            with self._engine.hurried():
                return sync(self._engine, record.name, limits=limits).backlog
        except LockedError:  # others write for longer than a query waits
            return self._engine.stale(record)
