"""Whether a view reads nothing but this database's own tables, in a time that has an end; told from its text.

A file may come from a stranger. DuckDB's views may read other files, by functions or macros, or count to infinity:
such a one is read when its index is synced, and not by a mere question.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlrag.engines.duckdb.cursors import HERE
from sqlrag.engines.duckdb.filter_check import WITH_EFFECTS, parts_of
from sqlrag.engines.duckdb.parameters import DIALECT
from sqlrag.values.sql_lexer import significant

if TYPE_CHECKING:
    import duckdb

__all__ = ["is_own"]

_SOURCES = frozenset({"BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY", "EXPRESSION_LIST"})
_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE"})


def is_own(database: duckdb.DuckDBPyConnection, view: str) -> bool:
    """Tell whether a view, and every view behind it, reads tables of this database and nothing else."""
    tables = {
        name for (name,) in database.execute(f"SELECT lower(table_name) FROM duckdb_tables() WHERE {HERE}").fetchall()
    }
    sql = f"SELECT lower(view_name), sql FROM duckdb_views() WHERE {HERE} AND NOT internal"
    views = dict(database.execute(sql).fetchall())
    sql = "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE NOT internal AND database_name <> 'temp'"
    refused = WITH_EFFECTS | {name for (name,) in database.execute(sql).fetchall()}
    waiting, seen = [view.lower()], set(tables)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        read = _read_by(database, views[name], refused) if name in views else None
        if read is None:
            return False
        waiting += read
    return True


def _read_by(database: duckdb.DuckDBPyConnection, sql: str, refused: frozenset[str] | set[str]) -> set[str] | None:
    """Return the tables that a view names; None if it does anything but read them."""
    ((text,),) = database.execute("SELECT json_serialize_sql(?)", [_select_of(sql)]).fetchall()
    parsed: dict[str, Any] = json.loads(text)
    if parsed["error"]:
        return None
    named, with_names = set(), set()
    for part in parts_of(parsed["statements"]):
        if "cte_map" in part:
            with_names |= {entry["key"].lower() for entry in part["cte_map"]["map"]}
            if part["type"] not in _NODES:
                return None
        elif "alias" in part and "sample" in part:
            if part["type"] not in _SOURCES:
                return None
            if part["type"] == "BASE_TABLE":
                if part["catalog_name"] or part["schema_name"] not in ("", "main"):
                    return None
                named.add(part["table_name"].lower())
        elif part.get("class") == "FUNCTION" and part["function_name"].lower() in refused:
            return None
    return named - with_names


def _select_of(sql: str) -> str:
    """Return the SELECT of `CREATE VIEW name (columns) AS SELECT …;`, as duckdb_views() has it."""
    depth = 0
    for one in significant(sql, DIALECT):
        depth += {"open": 1, "close": -1}.get(one.kind, 0)
        if not depth and one.kind == "word" and one.text.upper() == "AS":
            return sql[one.end :].strip().removesuffix(";")
    return ""
