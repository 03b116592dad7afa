"""The rows of a statement on a SQLite connection of ours, and which of its statements are open."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sqlrag.errors import LockedError

if TYPE_CHECKING:
    import apsw
    import pyarrow as pa

    from sqlrag.process.call_lock import CallLock

__all__ = ["Columns", "OpenRows", "SQLiteRows"]

Columns = list[tuple[str, str | None]]
"""Names and declared types."""

MOST_KEPT = 10_000
"""The most rows of a statement that are read into memory before its connection does something else."""


class SQLiteRows:
    """The rows of a SQLite statement, stepped as they are asked for."""

    def __init__(
        self,
        cursor: apsw.Cursor,
        described: Columns,
        errors: Callable[[], AbstractContextManager[None]],
        call_lock: CallLock,
        at_end: Callable[[], None],
    ) -> None:
        """`errors` turns SQLite's errors into sqlrag's; `at_end` is called after the last row."""
        self.columns = [name for name, _ in described]
        self.types = [declared for _, declared in described]
        self._call_lock = call_lock
        self._cursor = cursor
        self._errors = errors
        self._at_end = at_end
        self._kept: deque[tuple[Any, ...]] = deque()
        self._failed: Exception | None = None
        self._is_done = False
        self.is_stepping = False

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        row = self._next()
        if row is None:
            self._at_end()
            raise StopIteration
        return row

    def _next(self) -> tuple[Any, ...] | None:
        with self._call_lock:
            if self._kept:
                return self._kept.popleft()
            if self._failed is not None:
                failed, self._failed = self._failed, None
                raise failed
            return self._step()

    def _step(self) -> tuple[Any, ...] | None:
        if self._is_done:
            return None
        self.is_stepping = True
        try:
            with self._errors():
                row: tuple[Any, ...] | None = next(self._cursor, None)
        except BaseException:
            self._is_done = True
            raise
        finally:
            self.is_stepping = False
        self._is_done = row is None
        return row

    def keep(self) -> bool:
        """Read the remaining rows into memory, at most MOST_KEPT; return whether that was all.

        An error is raised when the reader has read the rows before it.
        """
        try:
            while len(self._kept) < MOST_KEPT and (row := self._step()) is not None:
                self._kept.append(row)
        except Exception as error:  # noqa: BLE001 - it is the reader's, whatever it is
            self._failed = error
        return self._is_done

    def close(self) -> None:
        """Give up the remaining rows: an open statement would keep a writer's log from being emptied."""
        if self._call_lock.is_closed or self._call_lock.is_inherited:
            return
        with self._call_lock:
            self._is_done = True
            self._kept.clear()
            self._cursor.close()

    def arrow(self) -> pa.Table:
        """Return the remaining rows as an Arrow table, with the types of the values."""
        import pyarrow as pa

        rows = list(self)
        arrays = [pa.array([row[place] for row in rows]) for place in range(len(self.columns))]
        return pa.Table.from_arrays(arrays, names=self.columns)


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

        One that is stepping to its next statement, which has not seen anything yet, is left as it is.
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
