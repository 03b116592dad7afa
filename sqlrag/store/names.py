"""Names that become part of a statement: which are allowed, and how they are quoted."""

from __future__ import annotations

import re
from collections.abc import Collection

import apsw

from sqlrag.errors import InputError

__all__ = [
    "NEXT",
    "check_index_name",
    "check_new_index_name",
    "folded",
    "in_main",
    "is_internal",
    "literal",
    "quote",
    "same_name",
]

MOST_LETTERS = 48
_INDEX_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_RESERVED = ("sqlite_", "sqlrag_")
_SUFFIXES = ("_vec", "_codes", "_gone", "_cells", "_fts", "_embedding", "_rows", "_queue")

_SMALL = {capital: capital + 32 for capital in range(ord("A"), ord("Z") + 1)}

NEXT = "_next"
"""The end of the name of an index that is being built to replace the one without it."""


def folded(name: str) -> str:
    """Return the common form of names that are the same to SQLite and DuckDB, which ignore case in ASCII."""
    return name.translate(_SMALL)


def same_name(name: object, other: object) -> bool:
    """Tell whether two names of tables, columns or indexes are the same to both engines."""
    return isinstance(name, str) and isinstance(other, str) and folded(name) == folded(other)


def check_index_name(name: object) -> str:
    """Return `name` if an index may have it; raise InputError otherwise.

    The name of an index becomes part of table names, so it is a plain identifier.
    """
    if not isinstance(name, str):
        raise InputError(f"index is {name!r}: the name of an index is a text, such as 'chunks'")
    lowered = name.lower()
    if not _INDEX_NAME.fullmatch(name) or len(name.removesuffix(NEXT)) > MOST_LETTERS:
        raise InputError(
            f"index {name[:80]!r} is not a name: take a letter, then letters, digits or _, {MOST_LETTERS} at most"
        )
    if name.upper() in apsw.keywords:
        raise InputError(f"index {name!r} is a keyword of SQL: take another name, such as '{name}_chunks'")
    if lowered.startswith(_RESERVED) or lowered.endswith(_SUFFIXES) or lowered == "documents":
        raise InputError(f"index {name!r} is a name that sqlrag or SQLite keeps for itself: take another one")
    return name


def check_new_index_name(name: object) -> str:
    """Return `name` if a caller may make an index of this name. Raises InputError for a reserved name."""
    checked = check_index_name(name)
    if checked.lower().endswith(NEXT):
        raise InputError(f"index {checked!r} is a name that sqlrag keeps for itself: take another one")
    return checked


def is_internal(table: str, indexes: Collection[str]) -> bool:
    """Tell whether a table is one of sqlrag's internal tables, other than `documents` and the chunk tables."""
    table = table.lower()
    own = tuple(f"{index}{suffix}".lower() for index in indexes for suffix in _SUFFIXES)
    return (
        table.startswith(_RESERVED) or table in own or table.startswith(tuple(f"{name}_vector_chunks" for name in own))
    )


def quote(name: str) -> str:
    """Return `name` as a quoted SQL identifier, for SQLite and DuckDB alike."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return `text` as a literal of SQL, for SQLite and DuckDB alike."""
    return "'" + text.replace("'", "''") + "'"


def in_main(name: str) -> str:
    """Return the quoted name of a table in the main database, so that it does not mean a temporary or attached one."""
    return f"main.{quote(name)}"
