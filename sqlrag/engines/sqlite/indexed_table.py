"""An index over a table of a SQLite database: triggers queue changed rows, and a comparison those that they missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlrag.engines.changed_rows import QueuedRow
from sqlrag.engines.indexed_table import IndexedTable
from sqlrag.engines.sqlite.index_tables import SQLiteTables
from sqlrag.engines.sqlite.row_texts import SourceRows
from sqlrag.engines.sqlite.table_schema import checked_columns
from sqlrag.engines.sqlite.triggers import Tracking
from sqlrag.errors import InputError, SourceGoneError
from sqlrag.store.check import gone, lost_parts
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.names import in_main
from sqlrag.store.source_table import content_hash
from sqlrag.store.statements import statement
from sqlrag.store.writer import immediate

if TYPE_CHECKING:
    import apsw

    from sqlrag.store.registry import IndexRecord

__all__ = ["SQLiteIndexedTable"]

QUEUED_AT_ONCE = 1_000
"""The most rows that a comparison queues in one transaction."""


class SQLiteIndexedTable(IndexedTable[SQLiteTables]):
    """Keeps one index in step with the table or view that it is over."""

    def __init__(self, connection: apsw.Connection, path: str, record: IndexRecord) -> None:
        super().__init__(SQLiteTables(connection, path, record))
        self._connection = connection
        self._path = path
        self._tracking = Tracking(connection, record)
        self._last_taken = 0
        self._source_rows = SourceRows(connection, self._source)
        self._rows, self._queue = (in_main(f"{record.name}_{part}") for part in ("rows", "queue"))

    def repeated(self) -> list[Any]:
        """Return a key that several rows have, if there is one; a table's own key tells its rows apart."""
        return self._source_rows.repeated() if self._source.null_is_key else []

    def differences(self) -> list[Any]:
        """Return the keys of the rows that came, changed or went since the index looked at them; reads every row."""
        return list(self._different())

    def problems(self) -> list[str]:
        """Return what is wrong between the index and its source, for `check`; reads every row of a table."""
        name, table = self.record.name, self._source.table
        if lost := self.tables.lost():
            return gone(self.record, lost)
        if not self._source_rows.columns():
            return [f"{name}: its table {table} is gone"]
        try:
            checked_columns(self._connection, self.record)
        except SourceGoneError as error:
            return [f"{name}: {error}"]
        if self.record.tracking == "triggers" and not self._tracking.is_there():
            return [f"{name}: the triggers on {table} are not those that note every change"]
        problems = []
        if self.record.tracking == "triggers":  # a view is only read by `sync`
            queued = set(self.tables.column(f"SELECT source_id FROM {self._queue}"))
            stale = sum(source_id not in queued for source_id in self._different())
            problems += [f"{name}: {stale} rows of {table} have another text than the index"] if stale else []
        if name in lost_parts(self._connection, self.record):
            return problems  # `check_index` says so
        unknown = len(self.tables.unknown_rows())
        return [*problems, f"{name}: chunks of {unknown} rows that {table} does not have"] if unknown else problems

    def prepare(self, *, compare: bool) -> None:
        """Make sure that changes are queued, and queue those that were missed.

        Every row is compared if triggers were missing or are not those that the table needs, and if they do not see
        every change. So it is, too, if the key is the rowid and the file may have been VACUUMed since, which renumbers
        rows (https://www.sqlite.org/lang_vacuum.html): SQLite's schema version changes then.
        """
        with translated(self._path):
            checked_columns(self._connection, self.record)
            if self.record.tracking == "triggers":
                self.check_key()
                tracked = self._tracking.is_there()
                moved = self._source_rows.use_rowid() and self.tables.schema_noted() != self.tables.schema_version()
                if not self._tracking.is_newest():
                    with immediate(self._connection):
                        self._tracking.make()
                        if tracked and not moved:
                            self.tables.note_schema()
                compare = compare or not tracked or moved or not self._tracking.sees_all
            if compare:
                self._compare()

    def backlog(self) -> int:
        """Return how many rows are queued."""
        with translated(self._path):
            ((rows, _),) = self._connection.execute(statement("index/backlog", index=self.record.name))
            return int(rows)

    def entries(self) -> int:
        """Return how many entries the queue has, in which a row may stand several times."""
        with translated(self._path):
            ((entries,),) = self._connection.execute(f"SELECT count(*) FROM {self._queue}")
            return int(entries)

    # Private

    def _queued(self, most: int) -> list[Any]:
        """Return the keys of the first queued rows, each once, although a row may be queued many times."""
        keys: dict[Any, None] = {}
        for number, source_id in self._source_rows.keys(self._queue, "ORDER BY number"):
            keys[source_id] = None
            self._last_taken = number
            if len(keys) >= most:
                break
        return list(keys)

    def _leave_queue(self, keys: Sequence[Any]) -> None:
        """Remove written rows from the queue: the index has their present text, whenever they were queued."""
        done = set(keys)
        queued = self._source_rows.keys(self._queue, "WHERE number <= ?", (self._last_taken,))
        numbers = [(number,) for number, source_id in queued if source_id in done]
        self._connection.executemany(f"DELETE FROM {self._queue} WHERE number = ?", numbers)

    def _present(self, keys: Sequence[Any]) -> Iterator[QueuedRow]:
        return map(self._row, keys)

    def _row(self, source_id: Any) -> QueuedRow:
        """Return a row as it is now."""
        problem = self._source.key_problem(source_id)
        if problem is not None:
            return QueuedRow(source_id, None, None, None, problem)
        sql = f"SELECT content_hash FROM {self._rows} WHERE source_id = ?"
        known = next((hash_ for (hash_,) in self._connection.execute(sql, (source_id,))), None)
        values = self._source_rows.values(source_id)
        if values is None:
            return QueuedRow(source_id, None, None, known)
        return self._made(source_id, values, known)

    def _made(self, source_id: Any, values: Sequence[Any], known: bytes | None) -> QueuedRow:
        try:
            text = self._source.render(values)
        except InputError as error:
            return QueuedRow(source_id, None, b"", known, str(error))
        return QueuedRow(source_id, text, content_hash(text), known)

    # Comparison

    def _compare(self) -> None:
        """Queue every row whose text differs from the index."""
        before = self.tables.schema_version()
        # All of them before the first write: while a SELECT is open, a write transaction of this connection fails
        # if another process has committed since the SELECT began.
        self._enqueue(list(self._different()))
        with immediate(self._connection):
            self.tables.note_schema(before)

    def _different(self) -> Iterator[Any]:
        """Yield the keys of the rows that are new, changed or gone."""
        known = dict(self._connection.execute(f"SELECT source_id, content_hash FROM {self._rows}"))
        seen = set()
        for source_id, values in self._source_rows.all():
            if self._source.key_problem(source_id) is not None:
                continue
            if source_id in seen:
                raise self._several_rows(source_id)
            seen.add(source_id)
            if self._made(source_id, values, None).content_hash != known.get(source_id):
                yield source_id
        yield from known.keys() - seen

    def _enqueue(self, different: list[Any]) -> None:
        """Queue rows that are not queued already."""
        queued = {source_id for _, source_id in self._source_rows.keys(self._queue, "")} if different else set()
        new = [(source_id,) for source_id in different if source_id not in queued]
        sql = f"INSERT INTO {self._queue} (source_id, queued_at) VALUES (?, julianday('now'))"
        for start in range(0, len(new), QUEUED_AT_ONCE):
            with immediate(self._connection):
                self._connection.executemany(sql, new[start : start + QUEUED_AT_ONCE])
