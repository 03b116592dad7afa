"""The rows of one statement, fetched as they are asked for; on either engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from sqlrag.process.call_lock import CallLock

__all__ = ["EngineRows", "Row"]

Row = tuple[Any, ...]


class EngineRows(ABC):
    """The rows of one statement. They can be kept in memory while the connection does something else."""

    def __init__(
        self,
        columns: Sequence[str],
        types: Sequence[str | None],
        call_lock: CallLock,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`at_end` is called after the last row was read."""
        self.columns = list(columns)
        self.types = list(types)
        """The columns' types in the engine's own words."""
        self.exhausted = False
        """Whether every row was fetched, so that the statement is over."""
        self._call_lock = call_lock
        self._at_end = at_end
        self._batch: Iterator[Row] = iter(())
        self._kept: list[Row] = []
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        self._call_lock.check()
        row = next(self._batch, None)
        if row is None:
            rows = self._more()
            if not rows:
                self._at_end()
                raise StopIteration
            self._batch = iter(rows)
            row = next(self._batch)
        return row

    def _more(self) -> list[Row]:
        """Return the next rows, or none at the end. An error that occurred while rows were kept follows them."""
        with self._call_lock:
            if self._kept:
                rows, self._kept = self._kept, []
                return rows
            if self._error is not None:
                raise self._error
            return [] if self.exhausted else self._fetched()

    @abstractmethod
    def _fetched(self) -> list[Row]:
        """Return the next rows from the engine, and set `exhausted` if they are the last."""

    def _keep(self, most: int) -> bool:
        """Read the remaining rows into memory, until `most` are there; return whether that was all."""
        try:
            while not self.exhausted and len(self._kept) < most:
                self._kept += self._fetched()
        except Exception as error:  # noqa: BLE001 - raised to the reader, whatever it is
            self._error, self.exhausted = error, True
        return self.exhausted

    def close(self) -> None:
        """Give up the remaining rows."""
        if self._call_lock.is_closed or self._call_lock.is_inherited:
            return
        with self._call_lock:
            self._end()
        self.exhausted, self._kept, self._error = True, [], None

    @abstractmethod
    def _end(self) -> None:
        """End the statement, and free what the engine keeps of it."""

    def arrow(self) -> pa.Table:
        """Return the remaining rows as an Arrow table, with the types of the values."""
        import pyarrow as pa

        rows = list(self)
        arrays = [pa.array([row[place] for row in rows]) for place in range(len(self.columns))]
        return pa.Table.from_arrays(arrays, names=self.columns)
