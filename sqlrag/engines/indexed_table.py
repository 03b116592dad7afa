"""An index over a table or view of the user's, kept in step with it; on either engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from sqlrag.engines.changed_rows import Limits, QueuedRow, within
from sqlrag.engines.index_tables import IndexTables
from sqlrag.errors import DatabaseError, InputError
from sqlrag.store.names import NEXT
from sqlrag.store.source_table import source_of

if TYPE_CHECKING:
    from sqlrag.store.registry import IndexRecord
    from sqlrag.store.source_table import SourceTable
    from sqlrag.text.documents import Part

__all__ = ["IndexedTable"]

Tables = TypeVar("Tables", bound=IndexTables)


class IndexedTable(ABC, Generic[Tables]):
    """Keeps one index in step with the table or view that it is over."""

    repair_makes_keys_anew: ClassVar[bool] = False
    """Whether a repair makes the index anew for a key of another type."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._source = source_of(tables.record)

    @property
    def record(self) -> IndexRecord:
        """The record of the index."""
        return self.tables.record

    @abstractmethod
    def prepare(self, *, compare: bool) -> None:
        """See that changes are tracked, and queue what was missed; `compare`: compare every row.

        Raises SourceGoneError where the source is gone, or is not what it was, and DatabaseError where its key has
        another type now or does not tell its rows apart.
        """

    @abstractmethod
    def backlog(self) -> int:
        """Return how many rows are queued."""

    @abstractmethod
    def entries(self) -> int:
        """Return how many entries the queue has, in which a row may stand several times."""

    @abstractmethod
    def differences(self) -> list[Any]:
        """Return the keys of the rows that came, changed or went since the index looked at them; reads every row."""

    @abstractmethod
    def repeated(self) -> list[Any]:
        """Return a key that several rows have, if there is one."""

    @abstractmethod
    def _queued(self, most: int) -> list[Any]:
        """Return the keys of the first queued rows, each once."""

    @abstractmethod
    def _present(self, keys: Sequence[Any]) -> Iterable[QueuedRow]:
        """Return rows as they are now, in the order of their keys; read as far as they are asked for."""

    @abstractmethod
    def _leave_queue(self, keys: Sequence[Any]) -> None:
        """Take rows that were written out of the queue; called within the transaction that has written them."""

    def create(self) -> None:
        """Create the index unless it is there, every row queued. Raises InputError for a key that several rows have."""
        with self.tables.transaction():
            if self.tables.existing() is not None:  # another process may have made it since
                return
            self.check_unique()
            self.tables.create()

    def check_unique(self) -> None:
        """Raise InputError where several rows of the source have the same key."""
        if repeated := self.repeated():
            raise InputError(
                f"key is {self.record.source_key!r}: {self._source.table} has several rows with the key "
                f"{repeated[0]!r}: give columns that tell its rows apart"
            )

    def take(self, rows: int, limits: Limits) -> list[QueuedRow]:
        """Return the first queued rows, so many at most, as `within` takes them."""
        with self.tables.errors():
            keys = self._queued(max(rows, limits.rows or 0))
            return within(self._present(keys), rows, limits)

    def apply(self, rows: Sequence[Part[QueuedRow]]) -> list[Any]:
        """Write rows, all or nothing, but for those that have changed since; return the keys of those written.

        None is written where the index has been made anew meanwhile, with another model perhaps.
        """
        with self.tables.batch():
            if not self.tables.is_as_recorded():
                return []
            now = self._present([part.source.source_id for part in rows])
            # The others have changed meanwhile, or another process was here.
            written = [part for part, row in zip(rows, now, strict=True) if row.is_as(part.source)]
            self._write([part for part in written if part.source.is_changed])
            keys = [part.source.source_id for part in written]
            self._leave_queue(keys)
        return keys

    def keep_up(self, progress: Callable[[str, float], None]) -> None:
        """Measure how many candidates a search needs, unless the index is still to take the place of another."""
        if not self.record.name.endswith(NEXT):
            self.tables.keep_up(progress)

    def _write(self, changed: Sequence[Part[QueuedRow]]) -> None:
        """Put rows' chunks in place of those that they had."""
        if not changed:
            return
        import numpy as np

        ids = self.tables.next_ids(sum(len(part.chunks) for part in changed))
        keys = [part.source.source_id for part in changed]
        self.tables.delete_chunks_of(keys)
        chunks = [row for part in changed for row in part.rows(part.source.source_id, ids)]
        states = [one for part in changed for one in part.states]
        self.tables.insert(chunks, np.concatenate([part.vectors for part in changed]), states)
        self.tables.delete_rows(keys)
        hashes = [(part.source.source_id, part.source.content_hash) for part in changed]
        self.tables.insert_rows([(key, hash_) for key, hash_ in hashes if hash_ is not None])

    def _several_rows(self, key: object) -> DatabaseError:
        return DatabaseError(
            f"index {self.record.name!r}: {self._source.table} has several rows with the key {key!r}: "
            "give the index a key that tells them apart"
        )

    def check_key(self, table: SourceTable | None = None) -> None:
        """Raise DatabaseError where the table has been made anew with another key, or with one of another type.

        `table`: what the database says of it, where that is known.
        """
        table = table or self.tables.source()
        name, key = self.record.name, self._source.key
        kept, key_type = self.tables.kept_key_type(), self.tables.key_type(table)
        if key_type == kept and table.key in {(), key}:
            return
        is_remade = self.repair_makes_keys_anew and table.key in {(), key}
        raise DatabaseError(
            f"index {name!r} knows rows of {table.name} by {', '.join(key)} {kept}, and the key of that {table.kind} "
            f"is {', '.join(table.key or key)} {key_type} now: "
            f"{'sqlrag check --repair makes the index anew, or ' if is_remade else ''}"
            f"drop the index with drop_index({name!r}) and make it again"
        )
