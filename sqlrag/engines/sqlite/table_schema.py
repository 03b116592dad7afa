"""What a SQLite database says of a table: columns, key, UNIQUE constraints."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sqlrag.store.names import in_main, literal, quote, same_name
from sqlrag.store.source_table import (
    ROWID,
    SourceTable,
    check_is_table,
    check_source,
    key_condition,
    source_of,
    unknown_table,
)

if TYPE_CHECKING:
    from sqlrag.store.registry import Connection, IndexRecord

__all__ = [
    "Unique",
    "checked_columns",
    "describe",
    "has_end",
    "key_type_of",
    "kind_of",
    "row_of_hit",
    "tables_in_the_way",
    "unique_constraints",
]

_OWN = re.compile(r"sqlite_|sqlrag_|.*_chunks\d\d$", re.IGNORECASE)
"""Names of SQLite's and sqlrag's own tables."""

Unique = list[tuple[str, str]]
"""The columns of a UNIQUE constraint, each with its collation."""


def tables_in_the_way(connection: Connection) -> dict[str, list[str]]:
    """Return the names of all tables and views, and the columns of `documents`.

    The columns of the others are not needed, and asking for those of a broken view is an error.
    """
    tables = connection.execute("SELECT name FROM main.sqlite_schema WHERE type IN ('table', 'view')")
    found: dict[str, list[str]] = {name: [] for (name,) in tables}
    if "documents" in found:
        columns = connection.execute("SELECT name FROM main.pragma_table_info('documents', 'main')")
        found["documents"] = [column for (column,) in columns]
    return found


def describe(connection: Connection, table: object) -> SourceTable:
    """Return what the database says of a table or view. Raises InputError for an unknown name."""
    # Compared here: the collation NOCASE, LIKE and lower() may be the application's.
    sql = "SELECT name, type, wr, strict FROM main.pragma_table_list WHERE schema = 'main' ORDER BY name"
    tables = list(connection.execute(sql))
    rows = [row for row in tables if same_name(row[0], table)]
    if not rows:
        names = [name for name, kind, *_ in tables if kind != "shadow" and not _OWN.match(name)]
        raise unknown_table(table, names, _elsewhere(connection, table))
    ((name, kind, without_rowid, strict),) = rows
    sql = "SELECT name, type, pk FROM main.pragma_table_xinfo(?, 'main') WHERE hidden <> 1"
    columns = [(str(column), str(type_), int(pk)) for column, type_, pk in connection.execute(sql, (name,))]
    key = tuple(column for column, _, pk in sorted(columns, key=lambda row: row[2]) if pk)
    if not key and kind == "table" and not without_rowid:
        taken = {column.lower() for column, _, _ in columns}
        key = tuple(alias for alias in ROWID if alias not in taken)[:1]
    types = {column: "" if strict and type_ == "ANY" else type_ for column, type_, _ in columns}
    kind = "virtual" if kind == "shadow" else str(kind)
    return SourceTable(str(name), kind, tuple(types), key, types)


def _elsewhere(connection: Connection, table: object) -> str:
    """Return where there is a table of this name, if it is temporary or in an attached database; else nothing."""
    sql = "SELECT schema, name FROM main.pragma_table_list WHERE schema <> 'main'"
    for schema, name in connection.execute(sql):
        if not (same_name(table, name) or same_name(table, f"{schema}.{name}")):
            continue
        where = "is temporary" if schema == "temp" else f"is in the attached database {schema}"
        return f"; {table} {where}, and an index is over a table of the database itself: copy it, or open that database"
    return ""


def kind_of(connection: Connection, table: str) -> str | None:
    """Return "table", "view" or "virtual", or None for an unknown name. The table itself is not opened."""
    sql = "SELECT type, name, rootpage FROM main.sqlite_schema WHERE type IN ('table', 'view')"
    for kind, name, page in connection.execute(sql):
        if same_name(name, table):
            return str(kind) if kind == "view" or page else "virtual"
    return None


def checked_columns(connection: Connection, record: IndexRecord) -> list[str]:
    """Return the columns of an index's source, which is not read. Raises SourceGoneError if the source has changed."""
    kind = kind_of(connection, record.source_table)
    if kind is not None and record.tracking != "compare":
        check_is_table(record, kind)
    sql = "SELECT name FROM main.pragma_table_xinfo(?, 'main') WHERE hidden <> 1"
    rows = connection.execute(sql, (record.source_table,)) if kind is not None else ()
    columns = [str(name) for (name,) in rows]
    if record.is_over_table:
        check_source(record, columns)
    return columns


def has_end(connection: Connection, view: str) -> bool:
    """Tell from its plan whether a view has no recursion, which might never end. The view is not run."""
    plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {in_main(view)}")
    return not any("RECURSIVE" in str(row[-1]) for row in plan)


def key_type_of(key: Sequence[str], types: Mapping[str, str]) -> str:
    """Return a type for a column that keeps keys unchanged: of the same affinity, of none for a stated key.

    https://www.sqlite.org/datatype3.html#determination_of_column_affinity
    """
    if len(key) > 1:
        return "TEXT"  # a JSON array
    if key and key[0] not in types:
        return "INTEGER"  # the rowid
    declared = types[key[0]].upper() if key else ""
    if "INT" in declared:
        return "INTEGER"
    if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in declared or not declared:
        return "BLOB"
    return "REAL" if any(word in declared for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def unique_constraints(connection: Connection, table: str, key: Sequence[str]) -> tuple[list[Unique], bool]:
    """Return the UNIQUE constraints of a table, and whether it has others that SQL cannot repeat.

    Those are on expressions, or on some of the rows. The key's own is left out, unless its collation takes 'a' for 'A'.
    """
    found: list[Unique] = []
    others = False
    sql = "SELECT name, partial FROM main.pragma_index_list(?, 'main') WHERE \"unique\" ORDER BY name"
    for name, partial in list(connection.execute(sql, (table,))):
        sql = "SELECT name, coll FROM main.pragma_index_xinfo(?, 'main') WHERE key"
        columns = list(connection.execute(sql, (name,)))
        if partial or any(column is None for column, _ in columns):
            others = True
        elif [column for column, _ in columns] != list(key) or any(name != "BINARY" for _, name in columns):
            found.append([(str(column), str(collation)) for column, collation in columns])
    return found, others


def row_of_hit(record: IndexRecord) -> dict[str, str]:
    """Return what sql/search_table.sql needs of an index over a table: a hit's metadata are the row's filters."""
    source = source_of(record)
    columns = {literal(name): f"source.{quote(name)}" for name in json.loads(record.filters)}
    # JSON has no BLOBs.
    pairs = ", ".join(f"{key}, iif(typeof({c}) = 'blob', hex({c}), {c})" for key, c in columns.items())
    return {
        "table": in_main(source.table),
        "is_source": key_condition(source, "chunk.source_id", "source."),
        "metadata": f"json_object({pairs})",
    }
