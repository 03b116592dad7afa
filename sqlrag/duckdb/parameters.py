"""`:name` parameters for DuckDB, which writes them `$name`: so the same statement runs on both engines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlrag.errors import InputError

__all__ = ["bind_named"]

# What is no place for a parameter comes first: texts, quoted names, dollar quotes, comments, casts.
_LEXEME = re.compile(
    r"""
    '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | --[^\n]* | /\*.*?\*/ | ::
  | (?<![\w\])'"]):(?P<colon>[A-Za-z_]\w*)
  | \$(?P<dollar>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)

_LONGEST_KEPT = 10_000
"""Characters of a statement that is remembered: a longer one is hardly asked twice."""


def bind_named(sql: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the statement with `$name` for each `:name`, and the values of those that it uses.

    A colon after a name, a number, a text or a bracket is a slice or a struct's (`x[1:n]`, `{'a':b}`), no parameter.
    Raises InputError for a parameter without a value.
    """
    statement, names = _named(sql) if len(sql) <= _LONGEST_KEPT else _named.__wrapped__(sql)
    for name in names:
        if name not in params:
            raise InputError(f"the statement has a parameter {name!r} that no value was given for")
    return statement, {name: params[name] for name in names}


@lru_cache(maxsize=64)
def _named(sql: str) -> tuple[str, tuple[str, ...]]:
    """Return the statement with `$name` for each parameter, and the names."""
    names: dict[str, None] = {}

    def replace(lexeme: re.Match[str]) -> str:
        name = lexeme["colon"] or lexeme["dollar"]
        if name is None:
            return lexeme.group()
        names[name] = None
        return f"${name}"

    return _LEXEME.sub(replace, sql), tuple(names)
