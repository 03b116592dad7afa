"""A DuckDB database that is only read: no other file, no network, no setting can be reached from SQL.

https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview: what is locked here holds for every
connection of the process to this file, and cannot be undone.
"""

from __future__ import annotations

import duckdb

from sqlrag.errors import ReadOnlyError

__all__ = ["check_reads", "confine"]

# The last one makes the others final. Replacements would make a name that is no table a variable of this program.
_SETTINGS = """
SET python_enable_replacements = false;
SET temp_directory = '';
SET memory_limit = '2GB';
SET autoinstall_known_extensions = false;
SET autoload_known_extensions = false;
SET allow_community_extensions = false;
SET enable_external_access = false;
SET lock_configuration = true;
"""


def confine(connection: duckdb.DuckDBPyConnection) -> None:
    """Close a database, opened read-only, to the outside."""
    connection.execute(_SETTINGS)


def check_reads(sql: str) -> None:
    """Raise ReadOnlyError unless DuckDB's parser takes every statement for a SELECT.

    A read-only database would still take temporary tables, PREPARE and transactions that stay open.
    """
    for statement in duckdb.extract_statements(sql):
        if statement.type != duckdb.StatementType.SELECT:
            raise ReadOnlyError(f"{statement.type.name} is not allowed: this database is only read here, with SELECT")
