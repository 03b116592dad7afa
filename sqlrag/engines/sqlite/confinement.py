"""A SQLite connection that only reads its own file: SQLite's authorizer decides, when a statement is prepared.

https://www.sqlite.org/c3ref/set_authorizer.html; statements inside of views, triggers, virtual tables and the table
functions pass through it too.
"""

from __future__ import annotations

import apsw

from sqlrag.errors import ReadOnlyError

__all__ = ["confine"]

_READING = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE})

# Pragmas that tell something about the database; the value of these is the name of a table or index.
_TELLING = frozenset(
    {"foreign_key_list", "function_list", "index_info", "index_list", "index_xinfo", "module_list", "table_info",
     "table_list", "table_xinfo"}
)  # fmt: skip

# These tell without a value, and set something with one.
_TELLING_WITHOUT_VALUE = frozenset(
    {"application_id", "collation_list", "compile_options", "data_version", "encoding", "freelist_count",
     "page_count", "page_size", "schema_version", "user_version"}
)  # fmt: skip

# SQLite's own functions that reach beyond the database, and those of its shell's extensions.
_OUTSIDE = frozenset(
    {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "fsdir", "lsmode", "zipfile"}
)

# What one function may be given: none of SQLite's looks at an interrupt, and LIKE and instr() multiply two lengths.
_LIMITS = {
    apsw.SQLITE_LIMIT_LENGTH: 16 << 20,  # bytes of a text or BLOB; the largest documents are some MB
    apsw.SQLITE_LIMIT_SQL_LENGTH: 4_000_000,
    apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    apsw.SQLITE_LIMIT_VDBE_OP: 1_000_000,
    apsw.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
}

_BUSY_MS = 3_000
"""For a lock of another process's: no interrupt ends the waiting, so it is shorter than the time limit."""

_NAMES = {code: name for name, code in apsw.mapping_authorizer_function.items() if isinstance(name, str)}


def confine(connection: apsw.Connection) -> None:
    """Let a connection run nothing but SELECT over its file, from now on.

    What is not allowed raises ReadOnlyError when it is prepared.
    """
    for kind, most in _LIMITS.items():
        connection.limit(kind, most)
    connection.set_busy_timeout(_BUSY_MS)
    connection.authorizer = _authorize


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    """Allow what reads; everything else, also what a later SQLite brings, is refused."""
    if action in _READING:
        return apsw.SQLITE_OK
    if action == apsw.SQLITE_FUNCTION:
        if (second or "").lower() not in _OUTSIDE:
            return apsw.SQLITE_OK
        what = f"the function {second}()"
    elif action == apsw.SQLITE_PRAGMA:
        pragma = (first or "").lower()
        if pragma in _TELLING or (pragma in _TELLING_WITHOUT_VALUE and second is None):
            return apsw.SQLITE_OK
        what = f"PRAGMA {first}"
    else:
        what = _NAMES.get(action, f"action {action}").removeprefix("SQLITE_").replace("_", " ")
        what += f" {first}" if first else ""
    raise ReadOnlyError(f"{what} is not allowed: this database is only read here, with SELECT")
