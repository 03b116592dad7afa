"""Check the depth of a statement before DuckDB parses it, because nothing can stop its parser.

Before a syntax error, each `WITH` inside a `WITH` makes DuckDB 2.0's parser take six times the time and memory, 3 GB
for ten of them; for brackets or operators in a row it takes the square of their number. Its planner takes 5 GB for
13,000 UNIONs, and does not end for a name of 100,000 parts.
"""

from __future__ import annotations

from sqlrag.engines.duckdb.parameters import DIALECT
from sqlrag.errors import SQLError
from sqlrag.values.sql_lexer import BLANK, Lexeme, lexemes

__all__ = ["check_shape"]

_LONGEST = 250_000
"""The most characters of a text that is run at once."""

_DEEPEST = 100
"""The most brackets inside one another; SQLite's parser has a stack of 100, too."""

_DEEPEST_WITH = 4
"""The most brackets inside one another that begin with WITH."""

_MOST_OPERATORS = 100
"""The most operators in a row, as in `- - 1`, and dots of one name."""

_MOST_SELECTS = 500
"""The most SELECTs that UNION, INTERSECT and EXCEPT may join in a statement: as many as SQLite takes."""

_MOST_STATEMENTS = 1_000
"""The most statements of a text."""

_SETS = frozenset({"UNION", "INTERSECT", "EXCEPT"})


def check_shape(sql: str) -> None:
    """Raise SQLError for statements that are too long or too deep."""
    if len(sql) > _LONGEST:
        raise SQLError(f"the statement has {len(sql):,} characters: here it takes {_LONGEST:,} at most")
    depth = _Depth()
    selects = statements = 0
    before = Lexeme("space", "", 0)
    is_glued = False
    for one in lexemes(sql, DIALECT):
        if _is_unclear(one, before, is_glued=is_glued):
            raise SQLError(f"put a space before {sql[one.start :][:30]!r}: where this text begins is not clear")
        is_glued = one.kind in ("number", "parameter") or (one.kind == "word" and is_glued)
        before = one
        if one.kind in BLANK:
            continue
        if depth.after(one):
            raise SQLError(f"the statement is nested too deeply at {sql[one.start :][:30]!r}")
        selects = 0 if one.text == ";" else selects + (one.kind == "word" and one.text.upper() in _SETS)
        statements += one.text == ";"
        if selects > _MOST_SELECTS:
            raise SQLError(f"the statement has more than {_MOST_SELECTS} times UNION or its like")
        if statements > _MOST_STATEMENTS:
            raise SQLError(f"there are more than {_MOST_STATEMENTS:,} statements in one")


def _is_unclear(one: Lexeme, before: Lexeme, *, is_glued: bool) -> bool:
    """Tell whether DuckDB may take this string for one that begins or ends elsewhere, so that code could hide in it.

    A number of DuckDB's may go on where one of ours ends (`1e1e'`), and not all spaces of Unicode's are spaces to it.
    After either, a string without a prefix is clear.
    """
    if one.kind not in ("string", "unclosed"):
        return False
    if one.text[0] == "'":
        return is_glued and before.kind == "word"
    return is_glued or (before.kind == "space" and not before.text[-1].isascii())


class _Depth:
    """The depth of a statement, lexeme by lexeme."""

    def __init__(self) -> None:
        self._begins_with: list[bool] = []  # of each bracket that is open, whether WITH is the first word in it
        self._withs = 0
        self._operators = self._dots = 0
        self._is_first = self._was_dot = False

    def after(self, one: Lexeme) -> bool:
        """Take the next lexeme; return whether the statement is too deep now."""
        if one.kind == "open":
            self._begins_with.append(False)
        elif one.kind == "close" and self._begins_with:
            self._withs -= self._begins_with.pop()
        elif self._is_first and one.text.upper() == "WITH":
            self._begins_with[-1] = True
            self._withs += 1
        self._is_first = one.kind == "open"
        self._operators = self._operators + len(one.text) if one.kind == "operator" else 0
        if "." in one.text and one.kind in ("operator", "number"):
            self._dots += one.text.count(".")
        elif not (self._was_dot and one.kind in ("word", "name", "number", "string", "unclosed")):
            self._dots = 0
        self._was_dot = one.text[-1] == "." and one.kind in ("operator", "number")
        return (
            len(self._begins_with) > _DEEPEST
            or self._withs > _DEEPEST_WITH
            or max(self._operators, self._dots) > _MOST_OPERATORS
        )
