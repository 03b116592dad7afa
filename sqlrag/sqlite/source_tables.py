"""What a SQLite database says of a table: its columns, its key, its UNIQUE constraints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlrag.errors import InputError
from sqlrag.index.source import ROWID, SourceTable

if TYPE_CHECKING:
    from sqlrag.index.registry import Connection

__all__ = ["Unique", "columns_by_table", "describe", "key_type_of", "unique_constraints"]

Unique = list[tuple[str, str]]
"""The columns of a UNIQUE constraint, each with its collation."""


def columns_by_table(connection: Connection) -> dict[str, list[str]]:
    """Return the columns of each table and view."""
    sql = """
        SELECT   "table".name, json_group_array(info.name)
        FROM     sqlite_schema AS "table", pragma_table_info("table".name) AS info
        WHERE    "table".type IN ('table', 'view') GROUP BY "table".name
    """
    return {table: json.loads(columns) for table, columns in connection.execute(sql)}


def describe(connection: Connection, table: object) -> SourceTable:
    """Return what the database says of a table or view. Raises InputError that lists those that there are."""
    sql = "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE"
    rows = list(connection.execute(sql, (table,))) if isinstance(table, str) else []
    if not rows:
        names = connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow' "
            "AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'sqlrag_%' ORDER BY name"
        )
        there_are = ", ".join(name for (name,) in names) or "none"
        raise InputError(f"table is {table!r}: this database has no such table or view (it has {there_are})")
    ((name, kind, without_rowid, strict),) = rows
    sql = "SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1"
    columns = [(str(column), str(type_), int(pk)) for column, type_, pk in connection.execute(sql, (name,))]
    key = tuple(column for column, _, pk in sorted(columns, key=lambda row: row[2]) if pk)
    if not key and kind == "table" and not without_rowid:
        taken = {column.lower() for column, _, _ in columns}
        key = tuple(alias for alias in ROWID if alias not in taken)[:1]
    return SourceTable(
        str(name), "virtual" if kind in ("virtual", "shadow") else str(kind), tuple(c[0] for c in columns), key,
        key_type_of(key, {column: "" if strict and type_ == "ANY" else type_ for column, type_, _ in columns}),
    )  # fmt: skip


def key_type_of(key: Sequence[str], types: dict[str, str]) -> str:
    """Return what a column is declared as that holds a key as it is: of the same affinity, for a stated key of none.

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
    """Return the UNIQUE constraints of a table, and whether there are others that SQL cannot repeat.

    Those are on expressions or on some of the rows. The key's own is left out, unless it takes 'a' for 'A'.
    """
    found: list[Unique] = []
    others = False
    sql = 'SELECT name, partial FROM pragma_index_list(?) WHERE "unique" ORDER BY name'
    for name, partial in list(connection.execute(sql, (table,))):
        columns = list(connection.execute("SELECT name, coll FROM pragma_index_xinfo(?) WHERE key", (name,)))
        if partial or any(column is None for column, _ in columns):
            others = True
        elif [column for column, _ in columns] != list(key) or any(name != "BINARY" for _, name in columns):
            found.append([(str(column), str(collation)) for column, collation in columns])
    return found, others
