"""The shape of a statement, looked at before DuckDB parses it: nothing can stop its parser.

DuckDB 2.0's takes six times the time and memory for each `WITH` inside of a `WITH` where a syntax error follows, or
3 GB at ten of them, and the square of the number of brackets or operators in a row. Its planner takes 5 GB for 13,000
times UNION, and does not end for a name of 100,000 parts.
"""

from __future__ import annotations

import re

from sqlrag.errors import SQLError

__all__ = ["check_shape"]

_LONGEST = 250_000
"""Characters of what is run at once."""

_DEEPEST = 100
"""Brackets inside of one another; SQLite's parser has a stack of 100, too."""

_DEEPEST_WITH = 4
"""Brackets inside of one another that begin with WITH."""

_MOST_OPERATORS = 100
"""In a row, as in `- - 1`, and dots of one name."""

_MOST_SELECTS = 500
"""In one statement, by UNION and its like: as many as SQLite takes."""

_PART = re.compile(
    r"""
    (?P<skipped>\s+ | --[^\n]* | /\*.*?(?:\*/|\Z))
  | (?P<quoted>[eE]'[^'\\]*(?:(?:\\.|'')[^'\\]*)*(?:'|\\?\Z) | '[^']*(?:''[^']*)*(?:'|\Z) | "[^"]*(?:""[^"]*)*(?:"|\Z)
      | \$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z))
  | (?P<word>\w+)
  | (?P<open>[(\[{])
  | (?P<close>[)\]}])
  | (?P<operator>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_MOST_STATEMENTS = 1_000

_SETS = frozenset({"UNION", "INTERSECT", "EXCEPT"})


def check_shape(sql: str) -> None:
    """Raise SQLError for statements that are too long or too deep."""
    if len(sql) > _LONGEST:
        raise SQLError(f"the statement has {len(sql):,} characters: here it takes {_LONGEST:,} at most")
    depth = _Depth()
    selects = statements = 0
    for found in _PART.finditer(sql):
        kind, text = found.lastgroup or "", found.group()
        if kind == "skipped":
            continue
        if depth.after(kind, text.upper() if kind == "word" else text):
            raise SQLError(f"the statement is nested too deeply at {sql[found.start() :][:30]!r}")
        selects = 0 if text == ";" else selects + (kind == "word" and text.upper() in _SETS)
        statements += text == ";"
        if selects > _MOST_SELECTS:
            raise SQLError(f"the statement has more than {_MOST_SELECTS} times UNION or its like")
        if statements > _MOST_STATEMENTS:
            raise SQLError(f"there are more than {_MOST_STATEMENTS:,} statements in one")


class _Depth:
    """How deep a statement is at a place."""

    def __init__(self) -> None:
        self._begins_with: list[bool] = []  # of each bracket that is open, whether WITH is the first word in it
        self._withs = 0
        self._operators = self._dots = 0
        self._is_first = self._was_dot = False

    def after(self, kind: str, text: str) -> bool:
        """Go on behind a part; tell whether it is too deep there."""
        if kind == "open":
            self._begins_with.append(False)
        elif kind == "close" and self._begins_with:
            self._withs -= self._begins_with.pop()
        elif text == "WITH" and self._is_first:
            self._begins_with[-1] = True
            self._withs += 1
        self._is_first = kind == "open"
        self._operators = self._operators + 1 if kind == "operator" else 0
        if text == ".":
            self._dots += 1
        elif not (self._was_dot and kind in ("word", "quoted")):
            self._dots = 0
        self._was_dot = text == "."
        return (
            len(self._begins_with) > _DEEPEST
            or self._withs > _DEEPEST_WITH
            or max(self._operators, self._dots) > _MOST_OPERATORS
        )
