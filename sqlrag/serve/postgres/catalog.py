"""PostgreSQL's catalog for databases of SQLite and DuckDB.

Clients query it in PostgreSQL's SQL, with its casts, operators and arrays. DuckDB reads most of that, SQLite does not,
and DuckDB's own pg_catalog lacks much of what psql asks for. So the catalog is a DuckDB database in memory
(sql/postgres/catalog.sql), filled when a client connects. Only what DuckDB cannot read of a query is rewritten.
Rewriting queries for SQLite with sqlglot would take another dependency, and more code.
"""

from __future__ import annotations

import re
import threading
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlrag.process.call_lock import CallLock
from sqlrag.serve.postgres.sqlstate import ClientError
from sqlrag.serve.postgres.statements import replaced
from sqlrag.serve.postgres.types import BY_OID, TEXT, of_declared, of_duckdb
from sqlrag.store.names import is_internal
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

    from sqlrag.database import Database
    from sqlrag.engines.duckdb.confinement import Confinement

__all__ = ["RELATIONS", "Catalog"]

_FIRST_OID = 16_384
"""The first number that PostgreSQL gives to objects of users."""

RELATIONS = frozenset(re.findall(r"CREATE (?:TABLE|VIEW) (pg_\w+)", statement("postgres/catalog")))
"""The relations of pg_catalog, which clients also name without their schema."""

# The names of types in format_type().
_SPOKEN = {"bool": "boolean", "int2": "smallint", "int4": "integer", "int8": "bigint", "float4": "real",
           "float8": "double precision", "varchar": "character varying", "time": "time without time zone",
           "timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone"}  # fmt: skip

# What DuckDB cannot read. The contents of strings are blank here.
_WORDS = re.compile(
    r"""
    (?P<name>'\ *'|\$\d+)(?:\s*::\s*(?:pg_catalog\.)?(?:text|varchar))?
        \s*::\s*(?:pg_catalog\.)?reg(?P<kind>class|type)\b
  | (?<![\w.])(?P<type>[\w.]+)\s*::\s*(?:pg_catalog\.)?regtype\b
  | \bOPERATOR\s*\(\s*pg_catalog\s*\.\s*(?P<operator>[^)\s]{1,63})\s*\)
  | (?P<collation>\bCOLLATE\s+(?:"?pg_catalog"?\s*\.\s*)?"?(?:default|C|POSIX)\b"?)
  | (?P<schema>(?:\bpg_catalog|"pg_catalog")\s*\.\s*)
  | (?P<information>(?:\binformation_schema|"information_schema")(?=\s*\.))
  | (?P<json>\bjson_build_object\b)
  | (?P<user>\b(?:current_user|current_role|session_user)\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)


def rewrite(sql: str) -> str:
    """Return a query as DuckDB can read it."""
    return replaced(_WORDS, sql, _rewritten)


def _rewritten(found: re.Match[str], sql: str) -> str:
    """Return the replacement of one match."""
    if found["name"]:
        return f"to_reg{found['kind'].lower()}({sql[found.start('name') : found.end('name')]})"
    if found["type"]:
        return f"format_type({found['type'].rpartition('pg_catalog.')[2]}, -1)"
    return {
        "operator": found["operator"],
        "information": "information",
        "json": "json_object",
        "user": "'sqlrag'",
    }.get(found.lastgroup or "", "")


class Catalog:
    """The catalog of one database; sessions share it."""

    def __init__(self, database_name: str, version: str, settings: Mapping[str, str]) -> None:
        self._name = database_name.replace("'", "''")
        self._version = version.replace("'", "''")
        self._settings = dict(settings)
        self._lock = threading.Lock()
        self._described: list[tuple[Any, ...]] | None = None
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._confinement: Confinement | None = None

    def cursor(self, database: Database) -> CatalogCursor:
        """Return a session's access to the catalog, filled with what the database has now."""
        described = _described(database)
        with self._lock:
            if self._connection is None or described != self._described:
                self._connection, self._described = self._filled(described), described
            from sqlrag.engines.duckdb.confinement import Confinement

            cursor = self._connection.cursor()
            return CatalogCursor(cursor, Confinement(cursor, self._confinement))

    def _filled(self, described: list[tuple[Any, ...]]) -> duckdb.DuckDBPyConnection:
        import duckdb

        from sqlrag.engines.duckdb.confinement import Confinement

        connection = duckdb.connect(":memory:", config={"threads": 1})
        connection.execute(
            "CREATE TABLE described (relation INTEGER, schema VARCHAR, name VARCHAR, kind VARCHAR, number INTEGER, "
            '"column" VARCHAR, type INTEGER, type_name VARCHAR, not_null BOOLEAN, key INTEGER); '
            "CREATE TABLE types (oid INTEGER, name VARCHAR, spoken VARCHAR, size INTEGER, element INTEGER, "
            "array_oid INTEGER); "
            "CREATE TABLE settings (name VARCHAR, setting VARCHAR)"
        )
        for table, rows in (("described", described), ("types", _types()), ("settings", list(self._settings.items()))):
            if rows:
                places = ", ".join("?" * len(rows[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
        for name in ("functions", "catalog"):
            connection.execute(statement(f"postgres/{name}", version=self._version, database=self._name))
        self._confinement = Confinement(connection)
        return connection


class CatalogCursor:
    """One session's access to the catalog."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, confinement: Confinement) -> None:
        self._connection = connection
        self._confinement = confinement
        self._call_lock = CallLock("the catalog")

    def execute(self, sql: str, params: list[Any]) -> tuple[list[tuple[str, str | None]], list[tuple[Any, ...]]]:
        """Run a query; return its columns, with DuckDB's types, and its rows. Raises DuckDB's errors as Error."""
        from sqlrag.engines.duckdb.error_translation import translated

        rewritten = rewrite(sql)
        with self._call_lock, translated(":memory:"):
            self._confinement.check(rewritten)
            self._connection.execute(rewritten, params)
            columns: list[tuple[str, str | None]] = []
            columns += [(str(column[0]), str(column[1])) for column in self._connection.description or ()]
            rows: list[tuple[Any, ...]] = []
            size = 0
            while batch := self._connection.fetchmany(_FETCH_ROWS):
                rows += batch
                size += sum(map(_size, chain.from_iterable(batch)))
                if size > _MOST_BYTES:
                    raise ClientError("54000", f"the answer of the catalog has more than {_MOST_BYTES >> 20} MB")
        return columns, rows

    def interrupt(self) -> None:
        """Stop the query that runs; may be called from another thread."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close the cursor."""
        self._connection.close()


_FETCH_ROWS = 100

_MOST_BYTES = 8 << 20
"""The most bytes of a result, which is in memory."""

_VALUE = 50
"""Bytes that a value takes in addition to its content."""


def _size(value: Any) -> int:
    return _VALUE + (len(value) if isinstance(value, (str, bytes, list)) else 0)


def _described(database: Database) -> list[tuple[Any, ...]]:
    """Return a row for each column of the database's tables and views, without sqlrag's internal tables."""
    rows = database.execute(statement(f"postgres/{database.engine}_columns")).fetchall()
    indexes = database.indexes()
    described: list[tuple[Any, ...]] = []
    relations: dict[tuple[str, str], int] = {}
    for schema, table, kind, number, column, declared, not_null, key in rows:
        if is_internal(table, indexes):
            continue
        relation = relations.setdefault((schema, table), _FIRST_OID + len(relations))
        found = of_duckdb(declared) if database.engine == "duckdb" else of_declared(declared)
        kind_of = found or TEXT
        described.append(
            (relation, schema, table, kind, number, column, kind_of.oid, kind_of.name, bool(not_null), key)
        )
    return described


def _types() -> list[tuple[Any, ...]]:
    """Return a row for each type: number, name, name in format_type(), size, element, array."""
    rows = []
    for oid, kind in BY_OID.items():
        name = kind.element.name if kind.element else kind.name
        spoken = _SPOKEN.get(name, name) + ("[]" if kind.element else "")
        rows.append((oid, kind.name, spoken, kind.size, kind.element.oid if kind.element else 0, kind.array_oid))
    return rows
