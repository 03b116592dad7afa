"""An index over a table of a SQLite database: its queue, and the texts that it has."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlrag.engines.changed_rows import Limits, QueuedRow, chunk_rows, within
from sqlrag.engines.sqlite.filter_indexes import FilterIndexes
from sqlrag.engines.sqlite.row_texts import SourceRows
from sqlrag.engines.sqlite.table_schema import checked_columns, describe, key_type_of
from sqlrag.engines.sqlite.triggers import Tracking
from sqlrag.errors import DatabaseError, InputError, SourceGoneError
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.names import NEXT, in_main
from sqlrag.store.registry import IndexRecord, Registry
from sqlrag.store.source_table import content_hash, key_expression, source_of
from sqlrag.store.statements import statement
from sqlrag.store.writer import IndexWriter, immediate

if TYPE_CHECKING:
    import apsw

    from sqlrag.text.documents import Part

__all__ = ["SQLiteLive"]

QUEUED_AT_ONCE = 1_000
"""Rows that a comparison puts into the queue in one transaction."""


class SQLiteLive:
    """Keeps one index in step with the table or view that it is over."""

    def __init__(self, connection: apsw.Connection, path: str, record: IndexRecord) -> None:
        self.record = record
        self._connection = connection
        self._path = path
        self._source = source_of(record)
        self._tracking = Tracking(connection, record)
        self._index = IndexWriter(connection, record)
        self._registry = Registry(connection)
        self._last_taken = 0
        self._is_next = record.name.endswith(NEXT)
        self._source_rows = SourceRows(connection, self._source)
        self._rows, self._queue = (in_main(f"{record.name}_{part}") for part in ("rows", "queue"))

    def create(self, source_type: str, *, queue: bool = True) -> None:
        """Create the index, its triggers, and queue every row. The caller holds the write transaction.

        Raises InputError for a stated key that several rows have.
        """
        checked_columns(self._connection, self.record)
        if self._source.null_is_key and (repeated := self._source_rows.repeated()):
            raise InputError(
                f"key is {self.record.source_key!r}: {self._source.table} has several rows with the key "
                f"{repeated[0]!r}: give columns that tell its rows apart"
            )
        self._index.create(source_type)
        self._connection.execute(statement("index/live", index=self.record.name, source_type=source_type))
        if self.record.tracking == "triggers":
            if taken := self._tracking.names():
                raise DatabaseError(
                    f"{self._path} has a trigger {taken[0]} of its own: "
                    f"give the index another name than {self.record.name!r}"
                )
            self._tracking.make()
            if not self._is_next:
                FilterIndexes(self._connection, self.record).make()
            self._note_schema()
        if queue:
            self.queue_all()

    def differences(self) -> list[Any]:
        """Return the keys of the rows that came, changed or went since the index has looked at them; reads them all."""
        return list(self._different())

    def forget(self, source_ids: Sequence[Any]) -> None:
        """Take the chunks of these rows out of the index, to be made again. The caller holds the write transaction."""
        self._index.delete_chunks_of(source_ids)
        self._connection.executemany(f"DELETE FROM {self._rows} WHERE source_id = ?", ((id_,) for id_ in source_ids))

    def problems(self) -> list[str]:
        """Return what is wrong between the index and its source, for `check`; reads every row of a table."""
        name, table = self.record.name, self._source.table
        if self.lost():
            return [f"{name}: {', '.join(self.lost())} is gone"]
        if not self._source_rows.columns():
            return [f"{name}: its table {table} is gone"]
        try:
            checked_columns(self._connection, self.record)
        except SourceGoneError as error:
            return [f"{name}: {error}"]
        if self.record.tracking == "triggers" and not self._tracking.is_there():
            return [f"{name}: the triggers on {table} are not those that note every change"]
        problems = []
        if self.record.tracking == "triggers":  # of a view nothing is known before `sync` reads it
            queued = {source_id for (source_id,) in self._connection.execute(f"SELECT source_id FROM {self._queue}")}
            stale = sum(source_id not in queued for source_id in self._different())
            problems += [f"{name}: {stale} rows of {table} have another text than the index"] if stale else []
        unknown = len(self.unknown())
        return [*problems, f"{name}: chunks of {unknown} rows that {table} does not have"] if unknown else problems

    def without_chunks(self) -> list[Any]:
        """Return the rows with a text, were it blanks, that no chunk is of."""
        sql = (
            f"SELECT source_id FROM {self._rows} WHERE content_hash <> x'' "
            f"AND source_id NOT IN (SELECT source_id FROM {in_main(self.record.name)})"
        )
        return [id_ for (id_,) in self._connection.execute(sql)]

    def lost(self) -> list[str]:
        """Return those of the index's own tables about its source that somebody has dropped."""
        sql = "SELECT name FROM main.sqlite_schema WHERE type = 'table'"
        there = {name for (name,) in self._connection.execute(sql)}
        return [name for name in (f"{self.record.name}_rows", f"{self.record.name}_queue") if name not in there]

    def unknown(self) -> list[Any]:
        """Return the source rows of chunks that the index does not know to have."""
        sql = f"SELECT DISTINCT source_id FROM {in_main(self.record.name)} WHERE source_id NOT IN "
        return [id_ for (id_,) in self._connection.execute(f"{sql}(SELECT source_id FROM {self._rows})")]

    def queue_all(self) -> None:
        """Queue every row of the source. The caller holds the write transaction."""
        self._connection.execute(
            f"INSERT INTO {self._queue} (source_id, queued_at) "
            f"SELECT {key_expression(self._source)}, julianday('now') FROM {in_main(self._source.table)} "
            f"WHERE {self._source.where}"
        )

    def drop(self) -> None:
        """Drop the index and its triggers. The caller holds the write transaction."""
        self._tracking.drop()
        if not self._is_next:
            FilterIndexes(self._connection, self.record).drop()
        self._index.drop()

    def altered(self, old: IndexRecord) -> None:
        """Do what a changed record asks for. The caller holds the write transaction."""
        checked_columns(self._connection, self.record)
        if self.record.filters != old.filters:
            FilterIndexes(self._connection, old).drop()
            if self.record.tracking == "triggers":
                FilterIndexes(self._connection, self.record).make()
        if self.record.template != old.template:
            if self.record.tracking == "triggers":
                self._tracking.make()
            self.queue_all()

    # What Sync asks

    def prepare(self, *, compare: bool) -> None:
        """See that changes are tracked, and queue what was missed.

        Everything is compared where the triggers were not there or not those that the table needs, where they do not
        see every change, and where the key is the rowid and the file may have been VACUUMed since, which renumbers
        (https://www.sqlite.org/lang_vacuum.html); SQLite's schema version tells that.
        """
        with translated(self._path):
            checked_columns(self._connection, self.record)
            if self.record.tracking == "triggers":
                self._check_key()
                tracked = self._tracking.is_there()
                moved = self._source_rows.use_rowid() and self._schema_noted() != self._schema_version()
                if not self._tracking.is_newest():
                    with immediate(self._connection):
                        self._tracking.make()
                        if tracked and not moved:
                            self._note_schema()
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

    def take(self, rows: int, limits: Limits) -> list[QueuedRow]:
        """Return the first queued rows, so many at most, as `within` takes them."""
        with translated(self._path):
            return within(map(self._row, self._queued(max(rows, limits.rows or 0))), rows, limits)

    def apply(self, rows: Sequence[Part[QueuedRow]]) -> list[Any]:
        """Write rows, all or nothing, but for those that have changed since; return the ids of those written.

        None is written where the index has been made anew meanwhile, with another model perhaps.
        """
        with translated(self._path), immediate(self._connection):
            if not self._index.is_as_recorded():
                return []
            # The others have changed meanwhile, or another process was here.
            written = [indexed for indexed in rows if self._row(indexed.source.source_id).is_as(indexed.source)]
            self._write([indexed for indexed in written if indexed.source.is_changed])
            keys = [indexed.source.source_id for indexed in written]
            self._leave_queue(keys)
        return keys

    def keep_up(self, progress: Callable[[str, float], None], *, wrote: bool = True) -> None:
        """Make new cells for the index if it has outgrown the ones it has; one that is to take a place has none yet."""
        if self._is_next:
            return
        from sqlrag.store.cells.cell_training import CellTraining

        with translated(self._path):
            CellTraining(self._connection, self.record, progress).keep_up(wrote=wrote)

    # Private

    def _check_key(self) -> None:
        """Raise DatabaseError where the table has been made anew with another key, or with one of another type."""
        table = describe(self._connection, self._source.table)
        sql = "SELECT type FROM main.pragma_table_info(?, 'main') WHERE name = 'source_id'"
        ((kept,),) = self._connection.execute(sql, (f"{self.record.name}_rows",))
        key_type = key_type_of(table.key, table.types)
        if (table.key, key_type) != (self._source.key, kept):
            name = self.record.name
            raise DatabaseError(
                f"index {name!r} knows rows of {table.name} by {', '.join(self._source.key)} {kept}, "
                f"and the key of that {table.kind} is {', '.join(table.key) or 'none'} {key_type} now: "
                f"drop the index with drop_index({name!r}) and make it again"
            )

    def _queued(self, rows: int) -> list[Any]:
        """Return the keys of the first queued rows; each once, though a row may stand in the queue many times."""
        keys: dict[Any, None] = {}
        for number, source_id in self._source_rows.keys(self._queue, "ORDER BY number"):
            keys[source_id] = None
            self._last_taken = number
            if len(keys) >= rows:
                break
        return list(keys)

    def _leave_queue(self, written: Sequence[Any]) -> None:
        """Take rows that were written out of the queue: the index has what they hold now, whenever they were queued."""
        done = set(written)
        queued = self._source_rows.keys(self._queue, "WHERE number <= ?", (self._last_taken,))
        numbers = [(number,) for number, source_id in queued if source_id in done]
        self._connection.executemany(f"DELETE FROM {self._queue} WHERE number = ?", numbers)

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

    def _write(self, changed: Sequence[Part[QueuedRow]]) -> None:
        """Put rows' chunks in place of those that they had."""
        import numpy as np

        known = [one.source.source_id for one in changed if one.source.known_hash is not None]
        self._index.delete_chunks_of(known)
        ids = itertools.count(self._index.next_id())
        chunks = chunk_rows(changed, ids)
        if chunks:
            self._index.insert(chunks, np.concatenate([one.vectors for one in changed if one.chunks]))
        gone = [(one.source.source_id,) for one in changed if one.source.content_hash is None]
        self._connection.executemany(f"DELETE FROM {self._rows} WHERE source_id = ?", gone)
        self._connection.executemany(
            f"INSERT OR REPLACE INTO {self._rows} (source_id, content_hash) VALUES (?, ?)",
            [(one.source.source_id, one.source.content_hash) for one in changed if one.source.content_hash is not None],
        )

    # Comparison

    def _compare(self) -> None:
        """Queue every row whose text is not the one that the index has."""
        before = self._schema_version()
        # All of them, before anything is written: while a SELECT is open, a transaction could only write to the state
        # that it reads, and would fail at once when anybody has committed since.
        self._enqueue(list(self._different()))
        with immediate(self._connection):
            self._note_schema(before)

    def _different(self) -> Iterator[Any]:
        """Yield the keys of the rows that came, changed or went."""
        known = dict(self._connection.execute(f"SELECT source_id, content_hash FROM {self._rows}"))
        seen = set()
        for source_id, values in self._source_rows.all():
            if self._source.key_problem(source_id) is not None:
                continue
            if source_id in seen:
                raise DatabaseError(
                    f"index {self.record.name!r}: {self._source.table} has several rows with the key {source_id!r}: "
                    "give the index a key that tells them apart"
                )
            seen.add(source_id)
            if self._made(source_id, values, None).content_hash != known.get(source_id):
                yield source_id
        yield from known.keys() - seen

    def _enqueue(self, different: list[Any]) -> None:
        """Queue rows; those that are queued already will be looked at in any case."""
        queued = {source_id for _, source_id in self._source_rows.keys(self._queue, "")} if different else set()
        new = [(source_id,) for source_id in different if source_id not in queued]
        sql = f"INSERT INTO {self._queue} (source_id, queued_at) VALUES (?, julianday('now'))"
        for start in range(0, len(new), QUEUED_AT_ONCE):
            with immediate(self._connection):
                self._connection.executemany(sql, new[start : start + QUEUED_AT_ONCE])

    # What SQLite's schema version tells

    def _schema_version(self) -> str:
        ((version,),) = self._connection.execute("PRAGMA main.schema_version")
        return str(version)

    def _schema_noted(self) -> str | None:
        return self._registry.meta(f"compared:{self.record.name}")

    def _note_schema(self, version: str | None = None) -> None:
        self._registry.set_meta(f"compared:{self.record.name}", version or self._schema_version())
