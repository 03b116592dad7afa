"""A `filter`: one boolean SQL expression over the columns of the indexed table, checked before it runs.

The text comes from whoever calls the function, often from an application that put a user's words into it.
It is read lexeme by lexeme, so that what goes into the statement, in parentheses, can only be an expression:
nothing that ends the statement, opens a sub-query or hides in a comment. Where the two engines could read it
differently, it is refused. Then each engine compiles it (`filter_check` of both) before it is run.
"""

from __future__ import annotations

import json
from typing import Any

from sqlrag.errors import FilterError, InputError
from sqlrag.values.arguments import shown
from sqlrag.values.sql_lexer import DUCKDB, Lexeme, lexemes

__all__ = ["check_filter", "check_filter_params", "without_value"]

_OPERATORS = frozenset("-+*/%&|~<>=,.:^!@") | {"::", ":="}

# What opens a sub-query, which could read any table: SELECT anywhere, the others right after a parenthesis
# (DuckDB takes `(FROM t)` and `(DESCRIBE t)`). SQLite also reads a table for `x IN name`.
_ANYWHERE = frozenset({"select", "raise"})
_OPENING = frozenset({"from", "with", "values", "table", "describe", "show", "summarize", "pivot", "unpivot"})
_CLOSING = {")": "(", "]": "["}


def check_filter(text: object) -> str | None:
    """Return the filter, or None for NULL. Raises FilterError that names what an expression can't hold."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise FilterError(f"filter is {text!r}: it is a SQL expression as text, such as 'year >= 2020'")
    if not text.strip():
        raise FilterError("filter is empty: leave it out, or give an expression such as 'year >= 2020'")
    open_brackets: list[str] = []
    before = Lexeme("open", "(", 0)
    for one in lexemes(text, DUCKDB):
        if one.kind != "space" or not one.text.isspace():  # DuckDB has spaces that Unicode and SQLite don't have
            _check_lexeme(text, one, before, open_brackets)
            before = one
    if open_brackets:
        raise _refused(text, f"a {open_brackets[-1]!r} is never closed")
    return text


def check_filter_params(params: object) -> dict[str, Any]:
    """Return the values of a filter's parameters, given as a JSON object; none for NULL. They never become SQL.

    Raises InputError for anything else, and for a value that is an array or an object.
    """
    if params is None:
        return {}
    wanted = 'it takes a JSON object of the filter\'s parameters, such as \'{"lang": "en"}\' for lang = :lang'
    try:
        values = json.loads(params) if isinstance(params, str) else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"filter_params is {shown(params)}: {wanted}")
    for name, value in values.items():
        if isinstance(value, (dict, list)):
            raise InputError(f"filter_params has {shown(value)} for {name!r}: {wanted}, a text, a number or null each")
    return values


def without_value(name: object) -> str:
    """Return what is wrong with a parameter of a filter that no value was given for."""
    return f"no value was given for its parameter {name!r}: give it with params= (filter_params in SQL)"


def _check_lexeme(text: str, one: Lexeme, before: Lexeme, open_brackets: list[str]) -> None:
    """Raise FilterError where a lexeme can't follow the one before it, or has no place in an expression."""
    said = one.text
    if one.kind == "comment" or said.startswith(("/*", "#")):
        raise _refused(text, f"the comment sign {said[:2]!r} has no place in an expression")
    if not _is_read_alike(one):
        wrong = said[:1] if one.kind == "unclosed" else said[:20]
        raise _refused(text, f"{wrong!r} at character {one.start + 1} has no place in an expression")
    if said.lower() in _ANYWHERE or (before.text == "(" and said.lower() in _OPENING):
        raise _refused(text, f"{said.upper()} has no place in it: it is one expression over the table's columns")
    if before.end == one.start and before.kind in ("word", "number") and not _may_touch(one, before):
        raise _refused(text, f"put a space between {before.text} and what comes after it")
    if before.text.lower() == "in" and said != "(":
        raise _refused(text, "IN takes its values in parentheses: x IN (1, 2, 3)")
    if one.kind == "close":
        if not open_brackets or open_brackets.pop() != _CLOSING[said]:
            raise _refused(text, f"the {said!r} at character {one.start + 1} closes nothing")
    elif one.kind == "open":
        open_brackets.append(said)


def _may_touch(one: Lexeme, before: Lexeme) -> bool:
    """Tell whether a lexeme right after a word or number is clearly another: `5AND` is two, `5_and` may be one."""
    if before.kind == "number" and one.kind == "word":
        return one.text.isascii() and one.text[0] != "_"
    return one.kind != "string"


def _is_read_alike(one: Lexeme) -> bool:
    """Tell whether a lexeme of a filter is one to both engines; of DuckDB's own there are E'' and $$ strings."""
    if one.kind == "word":
        return one.text.replace("_", "a").isalnum() and not one.text[0].isdecimal()
    if one.kind == "operator":
        return one.text in _OPERATORS
    opening = {"string": "'xX", "name": '"', "open": "([", "close": ")]", "number": one.text[0]}
    return one.text[0] in opening.get(one.kind, "")


def _refused(text: str, why: str) -> FilterError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return FilterError(f"filter {shown!r} cannot be used: {why}")
