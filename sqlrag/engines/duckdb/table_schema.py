"""What a DuckDB database says of a table; a row's key and text as SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sqlrag.engines.duckdb.cursors import HERE, schema_of
from sqlrag.errors import InputError
from sqlrag.store.names import folded, literal, quote
from sqlrag.store.source_table import Source, SourceTable, check_is_table, check_source, source_of, unknown_table
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    import duckdb

    from sqlrag.store.registry import IndexRecord

__all__ = [
    "as_key",
    "checked_source",
    "checked_types",
    "describe",
    "key_expression",
    "key_type_of",
    "row_of_hit",
    "rows_of",
]

_WHOLE_NUMBERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
# Types whose text depends on the connection's time zone, with the functions that convert them to a number since 1970
# and that number to a timestamp without a zone.
_ZONED = (
    ("TIMESTAMP WITH TIME ZONE", "epoch_us", "make_timestamp"),
    ("TIMESTAMPTZ_NS", "epoch_ns", "make_timestamp_ns"),
)
_PIECE = re.compile(r"\{([^{}]+)\}")


def describe(database: duckdb.DuckDBPyConnection, table: object) -> SourceTable:
    """Return what the database says of a table or view. Raises InputError for an unknown name."""
    found = []
    if isinstance(table, str):
        found = database.execute(statement("duckdb/describe", here=HERE), {"name": folded(table)}).fetchall()
    if found:
        rows = sorted(row[2:5] for row in found if row[0] == "column")
        types = {column: kind for _, column, kind in rows}
        key = next((row[5] for row in found if row[0] == "key"), ())
        kind = "view" if any(row[0] == "view" for row in found) else "table"
        return SourceTable(found[0][1], kind, tuple(types), tuple(key), types)
    sql = (
        f"SELECT table_name FROM duckdb_tables() WHERE {HERE} UNION ALL "
        f"SELECT view_name FROM duckdb_views() WHERE {HERE} AND NOT internal ORDER BY 1 ASC"
    )
    names = [name for (name,) in database.execute(sql).fetchall() if not name.startswith("sqlrag_")]
    raise unknown_table(table, names, _elsewhere(database, table))


def _elsewhere(database: duckdb.DuckDBPyConnection, table: object) -> str:
    """Return what to do if another schema or an attached database has a table of this name; else nothing."""
    sql = (
        "SELECT database_name, schema_name, table_name FROM duckdb_tables() WHERE lower(table_name) = lower(?) "
        "UNION ALL SELECT database_name, schema_name, view_name FROM duckdb_views() WHERE lower(view_name) = lower(?) "
        "AND NOT internal ORDER BY ALL ASC"
    )
    last = str(table).rsplit(".", 1)[-1].strip('"')
    for found in database.execute(sql, [last, last]).fetchall():
        name = ".".join(map(quote, found))
        return (
            f": there is {name}, and an index is over a table of the schema main: make a view there, CREATE VIEW "
            f"{schema_of(database)}.{quote(found[2])} AS FROM {name}, and index it with key="
        )
    return ""


def key_type_of(key: Sequence[str], types: Mapping[str, str]) -> str:
    """Return the type of a column that holds a key: BIGINT for whole numbers, VARCHAR for everything else."""
    return "BIGINT" if len(key) == 1 and types.get(key[0]) in _WHOLE_NUMBERS else "VARCHAR"


def key_expression(source: Source, types: Mapping[str, str], prefix: str = "") -> str:
    """Return DuckDB's expression for a row's key. A key of several columns is a JSON array.

    It does not depend on the time zone (`canonical`), nor on a collation, which might take 'a' and 'A' for one key. A
    number that does not fit is NULL.
    """
    if source.is_composite:
        columns = ", ".join(canonical(column, types, prefix) for column in source.key)
        return f'CAST(system.main.json_array({columns}) AS VARCHAR) COLLATE "binary"'
    column = canonical(source.key[0], types, prefix)
    if key_type_of(source.key, types) == "BIGINT":
        return f"CAST({column} AS BIGINT)"
    return f'CAST({column} AS VARCHAR) COLLATE "binary"'


def as_key(column: str, key_type: str) -> str:
    """Return a column of keys as SQL, cast to be compared with keys of a type: an earlier table had perhaps another."""
    return f"{'TRY_CAST' if key_type == 'BIGINT' else 'CAST'}({column} AS {key_type})"


def canonical(column: str, types: Mapping[str, str], prefix: str = "") -> str:
    """Return a column as SQL. A timestamp with time zone becomes text in UTC, whatever time zone is set."""
    name = prefix + quote(column)
    for kind, epoch, made in _ZONED:
        if types.get(column) == kind:
            in_utc = f"CAST(system.main.{made}(system.main.{epoch}({name})) AS VARCHAR) || '+00'"
            return f"CASE WHEN system.main.isfinite({name}) THEN {in_utc} ELSE CAST({name} AS VARCHAR) END"
    return name


def rows_of(source: Source, types: Mapping[str, str], main: str) -> str:
    """Return the SELECT of every row's key and text, as `Source.render` makes it; `main` is the source's schema.

    Raises InputError if a column of the text holds bytes.
    """
    for column in source.columns:
        if types.get(column) == "BLOB":
            raise InputError(f"text is made of column {column!r} of {source.table}, which holds bytes (BLOB), not text")
    pieces, place = [], 0
    for piece in _PIECE.finditer(source.template):
        pieces.append(literal(source.template[place : piece.start()]))
        # columns of different collations cannot be joined
        pieces.append(f"coalesce(CAST({canonical(piece.group(1), types)} AS VARCHAR) COLLATE \"binary\", '')")
        place = piece.end()
    pieces.append(literal(source.template[place:]))
    nothing = " AND ".join(f"{quote(column)} IS NULL" for column in source.columns)
    text = f"CASE WHEN NOT ({nothing}) THEN {' || '.join(piece for piece in pieces if piece != literal(''))} END"
    key = key_expression(source, types)
    whole = " AND ".join(f"{quote(column)} IS NOT NULL" for column in source.key)
    return f"SELECT {key} AS key, {text} AS text FROM {main}.{quote(source.table)} WHERE ({source.where}) AND {whole}"


def checked_types(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> Mapping[str, str]:
    """Return the types of the columns of an index's source. Raises SourceGoneError as `checked_source` does."""
    return checked_source(database, record).types


def checked_source(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> SourceTable:
    """Return what the database says of an index's source, which is not read.

    Raises SourceGoneError if it is gone, has become a view, or has lost a column that the index needs.
    """
    try:
        source = describe(database, record.source_table)
    except InputError:
        check_source(record, ())
        raise
    if record.tracking != "view":
        check_is_table(record, source.kind)
    if record.is_over_table:
        check_source(record, source.columns)
    return source


def row_of_hit(database: duckdb.DuckDBPyConnection, record: IndexRecord, main: str) -> dict[str, str]:
    """Return what sql/search_table.sql needs of an index over a table: a hit's metadata are the row's filters.

    `main` is the schema of the table. Raises SourceGoneError if the table is not what it was.
    """
    source, types = source_of(record), checked_types(database, record)
    names = json.loads(record.filters)
    pairs = ", ".join(f"{literal(name)}, {canonical(name, types, 'source.')}" for name in names)
    key = key_expression(source, types, "source.")
    return {
        "table": f"{main}.{quote(source.table)}",
        "is_source": f"{key} = {as_key('chunk.source_id', key_type_of(source.key, types))}",
        "metadata": f"system.main.json_object({pairs})",
    }
