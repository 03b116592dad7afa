"""`:name` parameters for DuckDB, which writes them `$name`: so the same statement runs on both engines.

DuckDB's own lexer tells texts, comments and quoted names from the rest. A colon before a name is a parameter where a
value may begin, and not behind one: there it belongs to a slice (`x[1:n]`), a struct (`{'a':b}`), a lambda or an alias.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import duckdb

from sqlrag.errors import InputError

__all__ = ["bind_named", "named"]

_NAME = re.compile(r"[A-Za-z_]\w*")
_SIGN_OR_WORD = re.compile(r"::|:=|\w+|.", re.DOTALL)

_BEFORE_A_VALUE = frozenset(
    {"all", "and", "any", "array", "as", "between", "by", "case", "distinct", "else", "escape", "except", "from",
     "glob", "group", "having", "ilike", "in", "intersect", "interval", "is", "like", "limit", "not", "offset", "on",
     "or", "order", "qualify", "returning", "select", "set", "similar", "some", "then", "to", "union", "using",
     "values", "when", "where"}
)  # fmt: skip
"""Keywords behind which a value may begin. Any other one may as well be the name of a column."""

_VALUES = frozenset({"end", "false", "null", "true"})
"""Keywords that are, or end, a value."""

_LONGEST_KEPT = 10_000
"""Characters of a statement that is remembered: a longer one is hardly asked twice."""


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
    try:
        reading = _Reading(sql)
    except UnicodeEncodeError:  # DuckDB says so, too
        return sql, ()
    if reading.unsure:
        statement = reading.written(reading.unsure)
        if _parses(statement[0]):
            return statement
    return reading.written({})


def _parses(sql: str) -> bool:
    try:
        duckdb.extract_statements(sql)
    except duckdb.Error:
        return False
    return True


@dataclass
class _Bracket:
    """A bracket that is open, or the statement itself."""

    kind: str
    """`(`, `{`, `[` of a list, `[:` of a subscript."""
    is_new: bool = True
    """Whether nothing of it has been read yet."""


@dataclass
class _Reading:
    """A statement read from left to right."""

    sql: str
    dollars: dict[int, str] = field(default_factory=dict)
    """Names by the place of their `$`."""
    sure: dict[int, str] = field(default_factory=dict)
    """Names by the place of their colon."""
    unsure: dict[int, str] = field(default_factory=dict)
    """... where a keyword stands before it, behind which a value begins unless it is the name of a column."""

    def __post_init__(self) -> None:
        self._open = [_Bracket("(")]
        self._before = "start"  # of a value; "end" of one; or a "word", which may be either
        is_member = False
        taken = -1  # the name at this place belongs to the colon or dollar before it
        for place, kind, lexeme in _lexemes(self.sql):
            if place == taken:
                continue
            if kind == duckdb.token_type.operator or lexeme[0] == ":":  # a keyword for DuckDB 1.5
                taken = self._read_operator(place, lexeme)
                is_member = lexeme == "."
                continue
            self._open[-1].is_new = False
            self._before = "end"
            if kind == duckdb.token_type.keyword and not is_member:
                word = lexeme.lower()
                self._before = "start" if word in _BEFORE_A_VALUE else "end" if word in _VALUES else "word"
            is_member = False

    def _read_operator(self, place: int, lexeme: str) -> int:
        """Read one; return the place of the name that belongs to it, -1 where none does."""
        bracket = self._open[-1]
        name = _NAME.match(self.sql, place + 1) if lexeme in (":", "$") else None
        if lexeme == "$" and name:
            self.dollars[place] = name.group()
            self._before, bracket.is_new = "end", False
            return place + 1
        if lexeme == ":" and name and self._note(place, name.group(), bracket):
            self._before, bracket.is_new = "end", False
            return place + 1
        bracket.is_new = False
        if lexeme in ("(", "[", "{"):
            is_subscript = lexeme == "[" and self._before != "start"
            self._open.append(_Bracket("[:" if is_subscript else lexeme))
        elif lexeme in (")", "]", "}") and len(self._open) > 1:
            self._open.pop()
        self._before = "end" if lexeme in (")", "]", "}", "?") else "start"
        return -1

    def _note(self, place: int, name: str, bracket: _Bracket) -> bool:
        """Note a colon before a name if it makes a parameter of it, or may do so; return whether it does."""
        if self._before == "start":
            if bracket.kind == "[:" and bracket.is_new:  # x[:n]
                return False
            self.sure[place] = name
            return True
        if self._before == "word" and bracket.kind in ("(", "["):
            self.unsure[place] = name
            return True
        return False

    def written(self, unsure: dict[int, str]) -> tuple[str, tuple[str, ...]]:
        """Return the statement with `$name` for each parameter, and the names."""
        colons = self.sure | unsure
        parts, end = [], 0
        for place in sorted(colons):
            before = self.sql[end:place]
            # `LIMIT:n` is one; `LIMIT$n` would be a name
            parts += [before, " $" if before[-1:].isalnum() or before[-1:] in ("_", "$") else "$"]
            end = place + 1
        found = colons | self.dollars
        names = dict.fromkeys(found[place] for place in sorted(found))
        return "".join([*parts, self.sql[end:]]), tuple(names)


def _lexemes(sql: str) -> Iterator[tuple[int, Any, str]]:
    """Yield place, kind and first sign or word of each lexeme but comments, as DuckDB's lexer finds them.

    With a lexeme comes the space behind it, in DuckDB 1.5 a comment there, too.
    """
    encoded = sql.encode()
    found = duckdb.tokenize(sql)
    starts = [start for start, _ in found] + [len(encoded)]  # in bytes
    place = len(encoded[: starts[0]].decode())
    for (start, kind), end in zip(found, starts[1:], strict=True):
        text = encoded[start:end].decode()
        if kind != duckdb.token_type.comment:
            yield place, kind, _SIGN_OR_WORD.match(text)[0]  # type: ignore[index]  # no lexeme is empty
        place += len(text)
