"""The rows of a statement on a SQLite connection of ours, and which of its statements are open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING
from weakref import WeakSet

from sqlrag.engines.open_rows import EngineRows, Row
from sqlrag.errors import LockedError

if TYPE_CHECKING:
    import apsw

    from sqlrag.process.call_lock import CallLock

__all__ = ["Columns", "OpenRows", "SQLiteRows"]

Columns = list[tuple[str, str | None]]
"""Names and declared types."""

MOST_KEPT = 10_000
"""The most rows of a statement that are read into memory before its connection does something else."""


class SQLiteRows(EngineRows):
    """The rows of a SQLite statement, stepped as they are asked for."""

    def __init__(
        self,
        cursor: apsw.Cursor,
        described: Columns,
        errors: Callable[[], AbstractContextManager[None]],
        call_lock: CallLock,
        at_end: Callable[[], None],
        *,
        first: list[Row],
    ) -> None:
        """`errors` turns SQLite's errors into sqlrag's; `at_end` is called after the last row.

        `first`: rows that were read from the cursor before.
        """
        super().__init__([name for name, _ in described], [declared for _, declared in described], call_lock, at_end)
        self._kept = first
        self._cursor = cursor
        self._errors = errors
        self.is_stepping = False

    def _fetched(self) -> list[Row]:
        self.is_stepping = True
        try:
            with self._errors():
                row = next(self._cursor, None)
        except BaseException:
            self.exhausted = True
            raise
        finally:
            self.is_stepping = False
        self.exhausted = row is None
        return [] if row is None else [row]

    def keep(self) -> bool:
        """Read the remaining rows into memory, at most MOST_KEPT; return whether that was all."""
        return self._keep(MOST_KEPT)

    def _end(self) -> None:
        self._cursor.close()  # an open statement would keep a writer's log from being emptied


class OpenRows:
    """The statements of a connection whose rows are not all read.

    Each holds the connection to the state that it saw first: a query beside it would not see what others wrote later,
    and a write would fail.
    """

    def __init__(self) -> None:
        self._open: WeakSet[SQLiteRows] = WeakSet()

    def add(self, rows: SQLiteRows) -> SQLiteRows:
        """Watch the rows of a statement that has begun."""
        self._open.add(rows)
        return rows

    def keep(self) -> bool:
        """Read all of them into memory; return whether none is open any more.

        One whose next row is being read, by a statement that calls a function of ours, is left as it is.
        """
        waiting = [rows for rows in self._open if not rows.is_stepping]
        kept = {rows for rows in waiting if rows.keep()}
        self._open -= kept
        return len(kept) == len(waiting)

    def left(self) -> LockedError:
        """Return the error for a result with too many unread rows."""
        return LockedError(
            f"a Result of this connection has more than {MOST_KEPT:,} rows left, and others have written since it "
            "began: read it to the end, or close() it"
        )
