"""Connections of sqlrag's own to a DuckDB database, in which a name means what sqlrag means by it.

A name is looked for among DuckDB's own functions first, then in the schema `main` of the database that was opened, and
nowhere else: a macro `md5` or `+`, a temporary table of the user's connection, its `USE` and its `search_path` have no
say here.
What is created has its schema before its name. What runs on the user's own connection has all of its names qualified.
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
"""On a cursor of sqlrag's own, which rows of DuckDB's tables of metadata are of the database's own schema."""

# Settings of one connection: the user's stay as they are. They can fail where all settings are locked, and are needed
# there for little: lists of timestamps with time zone, and a table that is gone.
_SETTINGS = (
    "SET TimeZone = 'UTC'",
    "SET Calendar = 'gregorian'",
    "SET python_enable_replacements = false",
)


def catalog_of(connection: DuckDBPyConnection) -> str:
    """Return which database a connection is about: a cursor of sqlrag's own knows it, another one is at it now."""
    sql = "SELECT coalesce(getvariable('sqlrag_catalog'), current_database())"
    ((catalog,),) = connection.execute(sql).fetchall()
    return str(catalog)


def schema_of(connection: DuckDBPyConnection) -> str:
    """Return what qualifies sqlrag's tables, and those that it indexes, quoted: the schema `main` of that database."""
    return f"{quote(catalog_of(connection))}.main"


def own_cursor(connection: DuckDBPyConnection, catalog: str) -> DuckDBPyConnection:
    """Open another connection to the instance of this one, with names that mean what sqlrag means by them.

    It sees what is committed, also while a statement of the user's runs.
    """
    cursor = connection.cursor()
    path = f"system.main,{quote(catalog)}.main"
    cursor.execute(f"SET search_path = {literal(path)}; SET VARIABLE sqlrag_catalog = {literal(catalog)}")
    for setting in _SETTINGS:
        with suppress(duckdb.Error):
            cursor.execute(setting)
    return cursor
