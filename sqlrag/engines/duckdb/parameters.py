"""`:name` parameters for DuckDB, which writes them `$name`: so the same statement runs on both engines.

A colon before a name makes a parameter where a value may begin. After a value it belongs to a slice (`x[1:n]`), a
struct (`{'a':b}`), a lambda or an alias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any

import duckdb

from sqlrag.errors import InputError
from sqlrag.values.sql_lexer import DUCKDB, Lexeme, significant

__all__ = ["DIALECT", "bind_named", "named"]

DIALECT = DUCKDB if len(duckdb.tokenize("`a b`")) == 1 else replace(DUCKDB, quotes='"')
"""The dialect of the installed DuckDB: 1.5 has no names in backticks."""

_BEFORE_A_VALUE = frozenset(
    {"all", "and", "any", "array", "as", "between", "by", "case", "distinct", "else", "escape", "except", "from",
     "glob", "group", "having", "ilike", "in", "intersect", "interval", "is", "like", "limit", "not", "offset", "on",
     "or", "order", "qualify", "returning", "select", "set", "similar", "some", "then", "to", "union", "using",
     "values", "when", "where"}
)  # fmt: skip
"""Keywords after which a value may begin. Any other keyword may also be the name of a column."""

_VALUES = frozenset({"end", "false", "null", "true"})
"""Keywords that are, or end, a value."""

_LONGEST_KEPT = 10_000
"""The most characters of a statement that is remembered: a longer one is unlikely to come again."""


def bind_named(sql: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the statement with `$name` for each `:name`, and the values of those that it uses.

    Raises InputError for a parameter without a value.
    """
    statement, names = named(sql)
    for name in names:
        if name not in params:
            raise InputError(f"the statement has a parameter {name!r} that no value was given for")
    return statement, {name: params[name] for name in names}


def named(sql: str) -> tuple[str, tuple[str, ...]]:
    """Return the statement with `$name` for each parameter, and the names."""
    return _named(sql) if len(sql) <= _LONGEST_KEPT else _named.__wrapped__(sql)


@lru_cache(maxsize=64)
def _named(sql: str) -> tuple[str, tuple[str, ...]]:
    """Return the statement with `$name` for each parameter, and the names."""
    if ":" not in sql and "$" not in sql:
        return sql, ()
    reading = _Reading(sql)
    if reading.unsure:
        statement = reading.written(reading.unsure)
        if _parses(statement[0]):
            return statement
    return reading.written({})


def _parses(sql: str) -> bool:
    try:
        duckdb.extract_statements(sql)
    except (duckdb.Error, UnicodeEncodeError):
        return False
    return True


class _Reading:
    """A statement read from left to right."""

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._dollars: dict[int, str] = {}
        self._sure: dict[int, str] = {}
        """Names of parameters by the index of their colon, as in the others."""
        self.unsure: dict[int, str] = {}
        """Those after a keyword, after which a value begins unless it is the name of a column."""
        self._open = ["("]
        """Brackets that are open, the outermost for the statement itself; `[:` is that of a subscript."""
        self._before: Lexeme | None = None
        self._is_member = False
        self._parameter_ends = -1
        for one, after in pairwise(chain(significant(sql, DIALECT), [Lexeme("operator", ";", len(sql))])):
            if one.start != self._parameter_ends:
                self._read(one, after)

    def _read(self, one: Lexeme, after: Lexeme) -> None:
        if one.text == ":" and after.kind == "word" and after.start == one.end and self._note(one.start, after.text):
            self._parameter_ends = after.start
            self._is_member, self._before = False, after._replace(kind="parameter")
            return
        if one.kind == "parameter" and not one.text[1].isdigit():
            self._dollars[one.start] = one.text[1:]
        elif one.kind == "open":
            self._open.append("[:" if one.text == "[" and self._stands() != "start" else one.text)
        elif one.kind == "close" and len(self._open) > 1:
            self._open.pop()
        self._is_member = self._before is not None and self._before.text == "."
        self._before = one

    def _stands(self) -> str:
        """Return what may come next: the "start" of a value, what follows the "end" of one, or either ("word")."""
        before = self._before
        if before is None or before.kind == "open" or (before.kind == "operator" and before.text != "?"):
            return "start"
        if before.kind != "word" or self._is_member:
            return "end"
        word = before.text.lower()
        if word in _BEFORE_A_VALUE:
            return "start"
        return "word" if word not in _VALUES and _is_keyword(word) else "end"

    def _note(self, place: int, name: str) -> bool:
        """Note a colon before a name if it makes a parameter of it, or may do so; return whether it does."""
        stands = self._stands()
        if stands == "start":
            if self._open[-1] == "[:" and self._before is not None and self._before.text == "[":  # x[:n]
                return False
            self._sure[place] = name
            return True
        if stands == "word" and self._open[-1] in ("(", "["):
            self.unsure[place] = name
            return True
        return False

    def written(self, unsure: dict[int, str]) -> tuple[str, tuple[str, ...]]:
        """Return the statement with `$name` for each parameter, and the names."""
        colons = self._sure | unsure
        parts, end = [], 0
        for place in sorted(colons):
            before = self._sql[end:place]
            # `LIMIT:n` is one; `LIMIT$n` would be a name
            parts += [before, " $" if before[-1:].isalnum() or before[-1:] in ("_", "$") else "$"]
            end = place + 1
        found = colons | self._dollars
        names = dict.fromkeys(found[place] for place in sorted(found))
        return "".join([*parts, self._sql[end:]]), tuple(names)


def _is_keyword(word: str) -> bool:
    """Tell whether a word is one of DuckDB's keywords."""
    return word.isascii() and bool(duckdb.tokenize(word)[0][1] == duckdb.token_type.keyword)
