"""An index of a DuckDB database made anew beside the old one: begun, gone on with, and put in its place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlrag.engines.duckdb.index_tables import IndexTables, transaction
from sqlrag.engines.duckdb.indexed_table import DuckDBLive
from sqlrag.engines.duckdb.repair import mark_partial
from sqlrag.engines.duckdb.schema_check import stored_records
from sqlrag.engines.duckdb.table_schema import describe, key_type_of
from sqlrag.store.names import quote
from sqlrag.store.source_table import key_columns

if TYPE_CHECKING:
    import duckdb

    from sqlrag.engines.duckdb.indexes import DuckDBIndexes
    from sqlrag.store.registry import IndexRecord

__all__ = ["begin_next", "switch"]


def begin_next(
    database: duckdb.DuckDBPyConnection, path: str, indexes: DuckDBIndexes, old: IndexRecord, new: IndexRecord
) -> None:
    """Make the index that is to take another's place; one that was begun the same way is kept."""
    begun = next((record for record in stored_records(database) if record.name == new.name), None)
    if begun is None or not begun.is_as(new):
        with transaction(database):
            if begun is not None:
                IndexTables(database, path, indexes, begun).drop()
            DuckDBLive(database, path, indexes, new).create(first_id=_unused_id(database, old))
    indexes.catch_up()  # of one that was begun too: writing the index file may be what stopped it


def switch(
    database: duckdb.DuckDBPyConnection, path: str, indexes: DuckDBIndexes, old: IndexRecord, new: IndexRecord
) -> None:
    """Put an index in the place of the old one, in one transaction.

    What has changed since is what the next comparison finds; of documents, they are ingested in part.
    """
    made = DuckDBLive(database, path, indexes, new)
    with transaction(database):
        changed = [] if old.is_live else made.differences()
        first_id = _unused_id(database, new)
        source_type = "BIGINT"
        if old.is_live:
            source_type = key_type_of(key_columns(old.source_key), describe(database, old.source_table).types)
        final = replace(new, name=old.name, template=old.template, tracking=old.tracking)
        tables = IndexTables(database, path, indexes, final)
        IndexTables(database, path, indexes, old).drop()
        tables.create(source_type, first_id=first_id)
        parts = ["", "_embedding"]
        if old.is_live:
            parts.append("_rows")
        for part in parts:
            database.execute(f"INSERT INTO {quote(old.name + part)} SELECT * FROM {quote(new.name + part)}")
        IndexTables(database, path, indexes, new).drop()
        tables.delete_chunks_of(changed)
        mark_partial(database, changed)
        tables.bump_version()
        _move_default(database, old, final)
    indexes.catch_up()


def _unused_id(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> int:
    """Return an id that no chunk of an index ever had."""
    sql = "SELECT coalesce(last_value + increment_by, start_value) FROM duckdb_sequences() WHERE sequence_name = ?"
    rows = database.execute(sql, [f"{record.name}_ids"]).fetchall()
    return int(rows[0][0]) if rows else 1


def _move_default(database: duckdb.DuckDBPyConnection, old: IndexRecord, new: IndexRecord) -> None:
    """Make the new model the database's own where the old one was and no index has it any more."""
    if old.embedder not in [record.embedder for record in stored_records(database)]:
        sql = "UPDATE sqlrag_meta SET value = ? WHERE key = 'embedder' AND value = ?"
        database.execute(sql, [new.embedder, old.embedder])
