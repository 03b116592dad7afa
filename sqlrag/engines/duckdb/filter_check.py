"""A `filter` in DuckDB: read as DuckDB's own parser reads it, one expression that stays within its row; then run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sqlrag.engines.duckdb.error_translation import translated
from sqlrag.engines.duckdb.parameters import bind_named, named
from sqlrag.engines.duckdb.table_schema import as_key, checked_types, key_expression, key_type_of
from sqlrag.errors import FilterError, SQLError
from sqlrag.store.filters import without_value
from sqlrag.store.names import quote
from sqlrag.store.source_table import key_columns, source_of
from sqlrag.values.bindings import duckdb_value

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    from sqlrag.store.registry import IndexRecord

__all__ = ["WITH_EFFECTS", "parts_of", "passing_ids"]

_REFUSED = {"SUBQUERY": "a sub-query", "WINDOW": "a window function", "STAR": "a star"}

WITH_EFFECTS = frozenset({"nextval", "setval", "setseed", "write_log", "sleep_ms"})


def passing_ids(
    connection: duckdb.DuckDBPyConnection, path: str, record: IndexRecord, expression: str, params: Mapping[str, Any]
) -> NDArray[np.int64]:
    """Return the ids of the chunks whose source row satisfies an expression. Raises FilterError if it can't run.

    `params`: the values of its parameters.
    """
    values = {name: duckdb_value(f":{name}", value) for name, value in params.items()}
    types = checked_types(connection, record) if record.is_over_table else {}
    source, key, source_id = quote(record.source_table), quote(record.source_key), "source_id"
    if record.is_over_table:
        key = key_expression(source_of(record), types)
        source_id = as_key(source_id, key_type_of(key_columns(record.source_key), types))
    chosen = f"SELECT {key} FROM {source} WHERE ({expression}\n)"
    sql = f"SELECT id FROM {quote(record.name)} WHERE {source_id} IN ({chosen})"
    try:
        with translated(path):
            if problem := _problem(connection, expression, values):
                raise SQLError(problem)  # noqa: TRY301 - said with the columns, as what DuckDB finds itself
            connection.execute(*bind_named(f"SELECT 1 FROM {source} WHERE ({expression}\n) LIMIT 0", values))
            return connection.execute(*bind_named(sql, values)).fetchnumpy()["id"].astype(np.int64)
    except SQLError as error:
        columns = connection.execute(f"SELECT * FROM {source} LIMIT 0").description or []
        raise FilterError(
            f"filter {expression[:80]!r} cannot be used: {str(error).splitlines()[0]} "
            f"(columns of {record.source_table}: {', '.join(column[0] for column in columns)})"
        ) from error


def _problem(connection: duckdb.DuckDBPyConnection, expression: str, values: Mapping[str, Any]) -> str | None:
    """Return why an expression can be no filter, None if it can; it is parsed, and not run.

    The names in it are looked up when it is run, by DuckDB itself.
    """
    sql, names = named(f"SELECT 1 FROM filtered WHERE ({expression}\n)")
    if missing := [name for name in names if name not in values]:
        return without_value(missing[0])
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    parsed = json.loads(text)
    if parsed["error"]:
        return str(parsed["error_message"])
    statements = parsed["statements"]
    node = statements[0]["node"]
    beyond = ("modifiers", "group_expressions", "having", "qualify")
    if len(statements) != 1 or node["type"] != "SELECT_NODE" or any(node[clause] for clause in beyond):
        return "it is one expression over the table's columns"
    for part in parts_of(node["where_clause"]):
        if part.get("class") in _REFUSED:
            return f"{_REFUSED[part['class']]} has no place in it: it is one expression over the table's columns"
        if part.get("class") == "FUNCTION" and part["function_name"].lower() in WITH_EFFECTS:
            return f"{part['function_name']}() has effects, and a filter only reads"
    return None


def parts_of(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a tree of JSON objects and arrays."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts_of(inner)
