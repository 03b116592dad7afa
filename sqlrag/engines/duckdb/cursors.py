"""Connections of sqlrag's own to a DuckDB database, whose names cannot be redefined by the file or the user.

DuckDB resolves a name among its own functions first, then in the schema `main` of the opened database, and nowhere
else: a macro `md5` or `+`, a temporary table of the user's connection, its `USE` and its `search_path` have no effect.
Statements that create something qualify its name. Statements on the user's own connection qualify every name.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import duckdb

from sqlrag.store.names import literal, quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["HERE", "catalog_of", "own_cursor", "schema_of"]

HERE = "database_name = getvariable('sqlrag_catalog') AND schema_name = 'main'"
"""On a cursor of sqlrag's own: the condition that a row of DuckDB's metadata is about the database's own schema."""

# Settings of one connection; the user's stay as they are. They fail if all settings are locked, where they are hardly
# needed: for lists of timestamps with time zone, and for a table that is gone.
_SETTINGS = (
    "SET TimeZone = 'UTC'",
    "SET Calendar = 'gregorian'",
    "SET python_enable_replacements = false",
)


def catalog_of(connection: DuckDBPyConnection) -> str:
    """Return the database of a connection: a cursor of sqlrag's own knows it; of another it is the current one."""
    sql = "SELECT coalesce(getvariable('sqlrag_catalog'), current_database())"
    ((catalog,),) = connection.execute(sql).fetchall()
    return str(catalog)


def schema_of(connection: DuckDBPyConnection) -> str:
    """Return the quoted schema of sqlrag's tables and of those that it indexes: `main` of that database."""
    return f"{quote(catalog_of(connection))}.main"


def own_cursor(connection: DuckDBPyConnection, catalog: str) -> DuckDBPyConnection:
    """Open another connection to the same instance, whose names cannot be redefined.

    It sees what is committed, even while a statement of the user's runs.
    """
    cursor = connection.cursor()
    path = f"system.main,{quote(catalog)}.main"
    names = f"SET search_path = {literal(path)}; SET VARIABLE sqlrag_catalog = {literal(catalog)}"
    try:
        cursor.execute("; ".join([names, *_SETTINGS]))
    except duckdb.Error:
        cursor.execute(names)
        for setting in _SETTINGS:
            with suppress(duckdb.Error):
                cursor.execute(setting)
    return cursor
