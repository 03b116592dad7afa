"""The tables of one index in a SQLite file, with the triggers and the queue of one over a table of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from sqlrag.engines.index_tables import IndexTables
from sqlrag.engines.sqlite.filter_indexes import FilterIndexes
from sqlrag.engines.sqlite.table_schema import checked_columns, describe, key_type_of, tables_in_the_way
from sqlrag.engines.sqlite.triggers import Tracking
from sqlrag.errors import DatabaseError
from sqlrag.store.check import lost_parts
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.names import NEXT, in_main
from sqlrag.store.registry import IndexRecord, Registry
from sqlrag.store.repair import repair_index, repair_vectors, wrong_rows
from sqlrag.store.source_table import SourceTable, key_expression, source_of
from sqlrag.store.statements import made_in_main, statement
from sqlrag.store.states import KeptStates
from sqlrag.store.writer import IndexWriter, StoredChunk, check_room, immediate

if TYPE_CHECKING:
    import apsw
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SQLiteTables"]


class SQLiteTables(IndexTables):
    """One index's tables in a SQLite file."""

    main = "main"

    def __init__(self, connection: apsw.Connection, path: str, record: IndexRecord) -> None:
        self.record = record
        self.path = path
        self.connection = connection
        self.registry = Registry(connection)
        self._writer = IndexWriter(connection, record)
        self._tracking = Tracking(connection, record)
        self._is_next = record.name.endswith(NEXT)

    def of(self, record: IndexRecord) -> SQLiteTables:
        """Return the tables of another index, through the same connection."""
        return SQLiteTables(self.connection, self.path, record)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return all of its rows."""
        return list(self.connection.execute(sql, tuple(params)))

    def errors(self) -> AbstractContextManager[None]:
        """Turn SQLite's errors in the body into sqlrag's."""
        return translated(self.path)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the body as one write transaction, which waits for those of other processes."""
        with translated(self.path), immediate(self.connection):
            yield

    batch = transaction

    def existing(self) -> IndexRecord | None:
        """Return the record of the index of this name that the database has, None where it has none."""
        return self.registry.find(self.record.name)

    def create(self, *, first_id: int = 1, queue: bool = True) -> None:
        """Create the tables and triggers, and record the index. Raises DatabaseError where one stands in the way."""
        record = self.record
        if record.is_over_table:
            checked_columns(self.connection, record)
        check_room(self.path, record.name, tables_in_the_way(self.connection), documents=not record.is_over_table)
        if not record.is_over_table:
            self.connection.execute(statement("index/documents"))
        key_type = self.key_type()
        self._writer.create(key_type)
        if record.is_over_table:
            self.connection.execute(statement("index/create_tracking", index=record.name, source_type=key_type))
            if record.tracking == "triggers":
                self._make_triggers()
            if queue:
                self.queue_all()
        if first_id > 1:
            sql = "INSERT INTO main.sqlite_sequence (name, seq) VALUES (?, ?)"
            self.connection.execute(sql, (record.name, first_id - 1))
        if self.registry.meta("embedder") is None:
            self.registry.set_meta("embedder", record.embedder)

    def _make_triggers(self) -> None:
        if taken := self._tracking.names():
            raise DatabaseError(
                f"{self.path} has a trigger {taken[0]} of its own: "
                f"give the index another name than {self.record.name!r}"
            )
        self._tracking.make()
        if not self._is_next:
            FilterIndexes(self.connection, self.record).make()
        self.note_schema()

    def queue_all(self) -> None:
        """Queue every row of the source."""
        source = source_of(self.record)
        self.connection.execute(
            f"INSERT INTO {in_main(f'{self.record.name}_queue')} (source_id, queued_at) "
            f"SELECT {key_expression(source)}, julianday('now') FROM {in_main(source.table)} WHERE {source.where}"
        )

    def drop(self) -> None:
        """Drop the tables, the triggers and the filters' indexes, and forget the index."""
        if self.record.is_over_table:
            self._tracking.drop()
            if not self._is_next:
                FilterIndexes(self.connection, self.record).drop()
        self._writer.drop()

    def alter(self, old: IndexRecord) -> None:
        """Record the index as it is to be, and change its tables and triggers to that."""
        record = self.record
        self.registry.put(record)
        if record.tokenizer != old.tokenizer:
            self._writer.remake_full_text()
        if not record.is_over_table:
            return
        checked_columns(self.connection, record)
        has_triggers = record.tracking == "triggers"
        if record.filters != old.filters:
            FilterIndexes(self.connection, old).drop()
            if has_triggers:
                FilterIndexes(self.connection, record).make()
        if record.template != old.template:
            if has_triggers:
                self._tracking.make()
            self.queue_all()

    def take_over(self, made: SQLiteTables) -> None:
        """Copy what another index has, its queue too, into the tables of this one, which are empty."""
        name = self.record.name
        for part in ("rows", "queue") if self.record.is_over_table else ():
            self.connection.execute(
                f"INSERT INTO {in_main(f'{name}_{part}')} SELECT * FROM {in_main(f'{made.record.name}_{part}')}"
            )
        with self._without_insert_trigger():
            self.connection.execute(statement("index/switch", index=name))
        KeptStates(self.connection, self.record).take_over(made.record.name)

    @contextmanager
    def _without_insert_trigger(self) -> Iterator[None]:
        """Let the body insert chunks whose words are in the full text already."""
        trigger = f"{self.record.name}_after_insert"
        ((sql,),) = self.rows("SELECT sql FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?", [trigger])
        self.connection.execute(f"DROP TRIGGER {in_main(trigger)}")
        yield
        self.connection.execute(made_in_main(sql))

    def unused_id(self) -> int:
        """Return a chunk id such that neither it nor a greater one was ever used."""
        return self._writer.next_id()

    def next_ids(self, count: int) -> Iterator[int]:
        """Yield chunk ids that were never used."""
        first = self._writer.next_id()
        yield from range(first, first + count)

    def insert(self, chunks: Sequence[StoredChunk], vectors: NDArray[np.float32], states: Sequence[bytes]) -> None:
        """Insert chunks with their vectors, `(n, dimension)` float32, unit length, and what is kept of them, if any."""
        self._writer.insert(chunks, vectors)
        if states:
            KeptStates(self.connection, self.record).put([chunk[0] for chunk in chunks], states)

    def delete_chunks_of(self, source_ids: Sequence[Any]) -> None:
        """Delete the chunks of these source rows, and their vectors."""
        self._writer.delete_chunks_of(source_ids)

    def delete_rows(self, source_ids: Sequence[Any]) -> None:
        """Forget which texts of these rows the index has."""
        sql = f"DELETE FROM {in_main(f'{self.record.name}_rows')} WHERE source_id = ?"
        self.connection.executemany(sql, ((source_id,) for source_id in source_ids))

    def insert_rows(self, hashes: Sequence[tuple[Any, bytes]]) -> None:
        """Note which texts the index has: keys of rows, and the hashes of their texts."""
        sql = f"INSERT INTO {in_main(f'{self.record.name}_rows')} (source_id, content_hash) VALUES (?, ?)"
        self.connection.executemany(sql, hashes)

    def source(self) -> SourceTable:
        """Return what the database says of the table or view that the index is over."""
        return describe(self.connection, self.record.source_table)

    def kept_key_type(self) -> str:
        """Return the type that the index's table of rows has its keys in."""
        sql = "SELECT type FROM main.pragma_table_info(?, 'main') WHERE name = 'source_id'"
        return str(self.column(sql, [f"{self.record.name}_rows"])[0])

    def key_type(self, table: SourceTable | None = None) -> str:
        """Return the type of a column that holds the keys of the source as it is now, which may be described before."""
        if not self.record.is_over_table:
            return "INTEGER"
        table = table or self.source()
        return key_type_of(table.key, table.types)

    def lost(self) -> list[str]:
        """Return those of the index's own tables about its source that somebody has dropped."""
        there = set(self.column("SELECT name FROM main.sqlite_schema WHERE type = 'table'"))
        return [name for name in (f"{self.record.name}_rows", f"{self.record.name}_queue") if name not in there]

    def wrong_rows(self) -> list[Any] | None:
        """Repair what can be made from the index's own parts; return the source rows to be indexed again.

        None where a part is gone.
        """
        record = self.record
        if lost_parts(self.connection, record) or (record.is_over_table and self.lost()):
            return None
        repair_vectors(self.connection, record)
        rows = wrong_rows(self.connection, record)
        repair_index(self.connection, record)
        return rows

    def remake_codes(self) -> None:
        """Make the codes of the vectors anew, in one transaction, and forget how many candidates a search needs."""
        with self.transaction():
            self._writer.renew_codes()
            self.rows("DELETE FROM main.sqlrag_candidates WHERE index_name = ?", [self.record.name])

    def keep_up(self, progress: Callable[[str, float], None]) -> None:
        """Measure how many candidates a search needs, if the index has grown since that was last measured."""
        from sqlrag.store.upkeep import keep_up

        with translated(self.path):
            keep_up(self.connection, self.record, progress)

    def new_document_id(self) -> None:
        """Return None: SQLite gives a document its id."""

    def schema_version(self) -> str:
        """Return SQLite's number of the schema, which changes with each change of a table, and with VACUUM."""
        ((version,),) = self.rows("PRAGMA main.schema_version")
        return str(version)

    def schema_noted(self) -> str | None:
        """Return the schema version when the index's rows were last compared with their source."""
        return self.registry.meta(f"compared:{self.record.name}")

    def note_schema(self, version: str | None = None) -> None:
        """Note that the rows are compared, as of a schema version."""
        self.registry.set_meta(f"compared:{self.record.name}", version or self.schema_version())
