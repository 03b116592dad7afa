"""What a DuckDB database says of a table, and a row's key and text as DuckDB's SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sqlrag.errors import InputError
from sqlrag.index.names import quote
from sqlrag.index.source import Source, SourceTable, check_is_table, check_source, source_of
from sqlrag.index.statements import statement

if TYPE_CHECKING:
    import duckdb

    from sqlrag.index.registry import IndexRecord

__all__ = ["checked_types", "describe", "key_expression", "key_type_of", "rows_of", "schema_of", "search_statement"]

_WHOLE_NUMBERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
_PIECE = re.compile(r"\{([^{}]+)\}")


def describe(database: duckdb.DuckDBPyConnection, table: object) -> SourceTable:
    """Return what the database says of a table or view. Raises InputError that lists those that there are."""
    here = "database_name = current_database() AND schema_name = current_schema()"
    sql = (
        f"SELECT table_name, 'table' AS kind FROM duckdb_tables() WHERE {here} UNION ALL "
        f"SELECT view_name, 'view' FROM duckdb_views() WHERE {here} AND NOT internal ORDER BY 1"
    )
    there = dict(database.execute(sql).fetchall())
    name = next((one for one in there if isinstance(table, str) and one.lower() == table.lower()), None)
    if name is None:
        names = ", ".join(one for one in there if not one.startswith("sqlrag_")) or "none"
        raise InputError(f"table is {table!r}: this database has no such table or view (it has {names})")
    columns = database.execute(
        f"SELECT column_name, data_type FROM duckdb_columns() WHERE {here} AND table_name = ? ORDER BY column_index",
        [name],
    ).fetchall()
    keys = database.execute(
        f"SELECT constraint_column_names FROM duckdb_constraints() WHERE {here} AND table_name = ? "
        "AND constraint_type = 'PRIMARY KEY'",
        [name],
    ).fetchall()
    return SourceTable(name, there[name], tuple(dict(columns)), tuple(keys[0][0]) if keys else (), dict(columns))


def key_type_of(key: Sequence[str], types: Mapping[str, str]) -> str:
    """Return the type of a column that holds a key: whole numbers as they are, all others as text."""
    return "BIGINT" if len(key) == 1 and types.get(key[0]) in _WHOLE_NUMBERS else "VARCHAR"


def key_expression(source: Source, types: Mapping[str, str], prefix: str = "") -> str:
    """Return DuckDB's expression for a row's key; of several columns a JSON array."""
    columns = [prefix + quote(column) for column in source.key]
    if source.is_composite:
        return f"CAST(json_array({', '.join(columns)}) AS VARCHAR)"
    return f"CAST({columns[0]} AS {key_type_of(source.key, types)})"


def rows_of(source: Source, types: Mapping[str, str]) -> str:
    """Return the SELECT of every row's key and text, as `Source.render` makes it.

    Raises InputError where a column of the text holds bytes.
    """
    for column in source.columns:
        if types.get(column) == "BLOB":
            raise InputError(f"text is made of column {column!r} of {source.table}, which holds bytes (BLOB), not text")
    pieces, place = [], 0
    for piece in _PIECE.finditer(source.template):
        pieces.append(_literal(source.template[place : piece.start()]))
        pieces.append(f"coalesce(CAST({quote(piece.group(1))} AS VARCHAR), '')")
        place = piece.end()
    pieces.append(_literal(source.template[place:]))
    nothing = " AND ".join(f"{quote(column)} IS NULL" for column in source.columns)
    text = f"CASE WHEN NOT ({nothing}) THEN {' || '.join(piece for piece in pieces if piece)} END"
    key = key_expression(source, types)
    whole = " AND ".join(f"{quote(column)} IS NOT NULL" for column in source.key)
    return f"SELECT {key} AS key, {text} AS text FROM {quote(source.table)} WHERE ({source.where}) AND {whole}"


def checked_types(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> Mapping[str, str]:
    """Return the types of the source's columns, which is not read.

    Raises SourceGoneError where it has gone, is no table any more, or has lost a column that the index needs.
    """
    try:
        source = describe(database, record.source_table)
    except InputError:
        check_source(record, ())
        raise
    if record.tracking != "view":
        check_is_table(record, source.kind)
    if record.is_live:
        check_source(record, source.columns)
    return source.types


def schema_of(database: duckdb.DuckDBPyConnection) -> str:
    """Return what qualifies the tables of a connection's own database, quoted."""
    ((catalog,),) = database.execute("SELECT current_database()").fetchall()
    return f"{quote(catalog)}.main"


def search_statement(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> str:
    """Return the statement of `Database.search` for an index over a table: a hit's metadata are the row's filters."""
    names = json.loads(record.filters)
    source = source_of(record)
    if not names:
        return statement("search_rows", index=record.name, main=schema_of(database))
    pairs = ", ".join(f"{_literal(name)}, source.{quote(name)}" for name in names)
    key = key_expression(source, checked_types(database, record), "source.")
    return statement(
        "search_table",
        index=record.name,
        main=schema_of(database),
        table=quote(source.table),
        is_source=f"{key} = chunk.source_id",
        metadata=f"json_object({pairs})",
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'" if text else ""
