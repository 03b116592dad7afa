"""The types of PostgreSQL that columns of SQLite and DuckDB have.

Numbers and sizes: https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from dataclasses import dataclass
from typing import Any

__all__ = ["BY_NAME", "BY_OID", "TEXT", "PgType", "of_declared", "of_duckdb", "of_value", "widened"]


@dataclass(frozen=True)
class PgType:
    """A type: its number, its name in SQL, its size in bytes (-1 if it varies), and an array's type of elements."""

    oid: int
    name: str
    size: int
    element: PgType | None = None
    array_oid: int = 0


_SCALARS = (
    PgType(16, "bool", 1, array_oid=1000),
    PgType(17, "bytea", -1, array_oid=1001),
    PgType(20, "int8", 8, array_oid=1016),
    PgType(21, "int2", 2, array_oid=1005),
    PgType(23, "int4", 4, array_oid=1007),
    PgType(25, "text", -1, array_oid=1009),
    PgType(26, "oid", 4, array_oid=1028),
    PgType(114, "json", -1, array_oid=199),
    PgType(700, "float4", 4, array_oid=1021),
    PgType(701, "float8", 8, array_oid=1022),
    PgType(1043, "varchar", -1, array_oid=1015),
    PgType(1082, "date", 4, array_oid=1182),
    PgType(1083, "time", 8, array_oid=1183),
    PgType(1114, "timestamp", 8, array_oid=1115),
    PgType(1184, "timestamptz", 8, array_oid=1185),
    PgType(1186, "interval", 16, array_oid=1187),
    PgType(1700, "numeric", -1, array_oid=1231),
    PgType(2950, "uuid", 16, array_oid=2951),
    PgType(3802, "jsonb", -1, array_oid=3807),
)
_ALL = (*_SCALARS, *(PgType(one.array_oid, f"_{one.name}", -1, one) for one in _SCALARS))

BY_OID = {one.oid: one for one in _ALL}
BY_NAME = {one.name: one for one in _ALL}
TEXT = BY_NAME["text"]

# By DuckDB's names. Other types are text, or JSON if they are nested.
_DUCKDB = {
    "BOOLEAN": "bool",
    "TINYINT": "int2", "SMALLINT": "int2", "UTINYINT": "int2",
    "INTEGER": "int4", "USMALLINT": "int4",
    "BIGINT": "int8", "UINTEGER": "int8",
    "HUGEINT": "numeric", "UHUGEINT": "numeric", "UBIGINT": "numeric", "BIGNUM": "numeric",
    "FLOAT": "float4", "DOUBLE": "float8",
    "VARCHAR": "text", "BLOB": "bytea", "JSON": "json", "UUID": "uuid",
    "DATE": "date", "TIME": "time", "INTERVAL": "interval",
    "TIMESTAMP": "timestamp", "TIMESTAMP_S": "timestamp", "TIMESTAMP_MS": "timestamp", "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}  # fmt: skip

_LIST = re.compile(r"(?P<element>[A-Z0-9_ ]+|DECIMAL\(\d+,\s*\d+\))\[\d*\]")

# Parts of declared types in SQLite, in the order of its rules (https://www.sqlite.org/datatype3.html, 3.1).
_AFFINITIES = (("INT", "int8"), ("CHAR", "text"), ("CLOB", "text"), ("TEXT", "text"), ("JSON", "text"),
               ("BLOB", "bytea"), ("REAL", "float8"), ("FLOA", "float8"), ("DOUB", "float8"), ("NUMERIC", "float8"),
               ("DECIMAL", "float8"))  # fmt: skip

# The first that fits: a bool is an int, and a datetime a date.
_PYTHON: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (int, "int8"),
    (float, "float8"),
    (str, "text"),
    (bytes, "bytea"),
    (decimal.Decimal, "numeric"),
    (dt.datetime, "timestamp"),
    (dt.date, "date"),
    (dt.time, "time"),
    (dt.timedelta, "interval"),
    (uuid.UUID, "uuid"),
    (list, "json"),
    (dict, "json"),
)


def of_duckdb(name: str) -> PgType:
    """Return the type for DuckDB's name of one, such as `DECIMAL(10,2)` or `FLOAT[384]`."""
    if name in _DUCKDB:
        return BY_NAME[_DUCKDB[name]]
    if found := _LIST.fullmatch(name):
        return BY_OID[of_duckdb(found["element"]).array_oid]
    if name.startswith("DECIMAL("):
        return BY_NAME["numeric"]
    return BY_NAME["json"] if name.endswith("]") or name.startswith(("STRUCT", "MAP", "UNION", "LIST")) else TEXT


def of_declared(name: str | None) -> PgType | None:
    """Return the type for the declared type of a column in SQLite, None if that says nothing."""
    upper = (name or "").upper()
    return next((BY_NAME[meant] for part, meant in _AFFINITIES if part in upper), None)


def of_value(value: Any) -> PgType | None:
    """Return the type of a value, None for NULL."""
    return next((BY_NAME[name] for kind, name in _PYTHON if isinstance(value, kind)), None)


def widened(one: PgType | None, other: PgType | None) -> PgType | None:
    """Return a type that holds the values of both: float8 for int8 and float8, otherwise text."""
    if one is None or other is None or one == other:
        return one or other
    return BY_NAME["float8"] if {one.name, other.name} == {"int8", "float8"} else TEXT
