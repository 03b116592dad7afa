"""Checks that a DuckDB file has no views in the place of sqlrag's tables, and no macros named like DuckDB's functions.

A file may come from a stranger. DuckDB's views and macros may read any file, and a macro `sum` replaces the function in
every statement. They are refused before a statement of sqlrag's runs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlrag.engines.duckdb.cursors import HERE
from sqlrag.engines.duckdb.file_signature import Signature, file_signature
from sqlrag.errors import NotADatabaseError
from sqlrag.store.registry import IndexRecord, known_columns, record_of
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    import duckdb

__all__ = ["check_functions", "check_tables", "stored_records"]

FIXED = ("sqlrag_meta", "sqlrag_indexes")

_sound: dict[str, Signature] = {}
"""Signatures of the files that this process has found without such macros."""


def check_functions(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Raise NotADatabaseError for macros in the place of DuckDB's own functions.

    Looking through all functions takes about 15 ms, so it is done again only after the files have changed.
    """
    path_now = os.path.abspath(path)
    files = file_signature(path_now)
    if files is not None and _sound.get(path_now) == files:
        return
    ((macros,),) = connection.execute(
        "SELECT system.main.count(*) FROM system.main.duckdb_functions() "
        "WHERE NOT internal AND function_type IN ('macro', 'table_macro')"
    ).fetchall()
    names = [name for (name,) in connection.execute(statement("duckdb/foreign")).fetchall()] if macros else []
    if names:
        raise NotADatabaseError(
            f"{path} has macros with the names of DuckDB's own functions ({', '.join(names)}), which sqlrag's "
            "statements would run: drop them (DROP MACRO), or leave this file alone if it is not yours"
        )
    if files is not None:
        _sound[path_now] = files


def check_tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of the database's tables, in lower case.

    Raises NotADatabaseError for a view in the place of a table that every database with an index has.
    """
    sql = f"SELECT lower(table_name) FROM duckdb_tables() WHERE {HERE}"
    tables = {name for (name,) in connection.execute(sql).fetchall()}
    _check_no_views(connection, {*FIXED} - tables)
    return tables


def stored_records(connection: duckdb.DuckDBPyConnection, tables: set[str] | None = None) -> list[IndexRecord]:
    """Return the record of each index, ordered by name; none for a database without sqlrag's tables.

    `tables`: what `check_tables` has just returned, if it was called. Raises NotADatabaseError for a record that sqlrag
    never writes.
    """
    tables = check_tables(connection) if tables is None else tables
    if "sqlrag_indexes" not in tables:
        return []
    found = connection.execute("SELECT * FROM sqlrag_indexes")
    places = {column[0]: place for place, column in enumerate(found.description or [])}
    columns = known_columns(places)
    records = [record_of(columns, [row[places[column]] for column in columns]) for row in found.fetchall()]
    records.sort(key=lambda record: record.name)
    _check_tables_of(connection, tables, records)
    return records


def _check_tables_of(connection: duckdb.DuckDBPyConnection, tables: set[str], records: Sequence[IndexRecord]) -> None:
    """Raise NotADatabaseError for a view in the place of a table of an index; `tables`: those of the database."""
    names = {(record.name + part).lower() for record in records for part in ("", "_embedding", "_rows")}
    names |= {"documents"} if any(not record.is_over_table for record in records) else set()
    _check_no_views(connection, names - tables)


def _check_no_views(connection: duckdb.DuckDBPyConnection, names: set[str]) -> None:
    if not names:
        return
    sql = f"SELECT view_name FROM duckdb_views() WHERE {HERE} AND list_contains($names, lower(view_name))"
    for (name,) in connection.execute(sql, {"names": sorted(names)}).fetchall():
        raise NotADatabaseError(
            f"this database is damaged, or somebody has changed it: its view {name} is not as sqlrag makes it"
        )
