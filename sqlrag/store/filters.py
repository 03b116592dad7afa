"""A `filter`: one boolean SQL expression over the columns of the indexed table, checked before it runs.

The text comes from whoever calls the function, often from an application that put a user's words into it.
It is read token by token, so that what goes into the statement, in parentheses, can only be an expression:
nothing that ends the statement, opens a sub-query or hides in a comment. Each engine then reads it in its own way
(`filter_check` of both), before it is run.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sqlrag.errors import FilterError, InputError
from sqlrag.values.arguments import shown

__all__ = ["check_filter", "check_filter_params", "without_value"]

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<string>'(?:[^']|'')*')
  | (?P<prefix>[^\W\d]\w*(?='))
  | (?P<name>"(?:[^"]|"")*"|[^\W\d]\w*)
  | (?P<number>(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|0[xX][0-9a-fA-F]+)
  | (?P<comment>--|/\*|\#)
  | (?P<parenthesis>[()\[\]])
  | (?P<operator>->>|->|\|\||<<|>>|<=|>=|<>|!=|==|::|[-+*/%&|~<>=,.:^!@])
    """,
    re.VERBOSE,
)

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
    open_parentheses: list[str] = []
    position = 0
    before = "("
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise _refused(text, f"{text[position]!r} at character {position + 1} has no place in an expression")
        position = token.end()
        if token.lastgroup != "space":
            _check_token(text, token, before, open_parentheses)
            before = token.group().lower()
    if open_parentheses:
        raise _refused(text, f"a {open_parentheses[-1]!r} is never closed")
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


def _check_token(text: str, token: re.Match[str], before: str, open_parentheses: list[str]) -> None:
    value = token.group()
    if token.lastgroup == "comment":
        raise _refused(text, f"the comment sign {value!r} has no place in an expression")
    if value.lower() in _ANYWHERE or (before == "(" and value.lower() in _OPENING):
        raise _refused(text, f"{value.upper()} has no place in it: it is one expression over the table's columns")
    # DuckDB's E'\\'' ends elsewhere than a plain string does.
    if token.lastgroup == "prefix" and value.lower() != "x":
        raise _refused(text, f"put a space between {value} and the text after it")
    if before == "in" and value != "(":
        raise _refused(text, "IN takes its values in parentheses: x IN (1, 2, 3)")
    if value in _CLOSING:
        if not open_parentheses or open_parentheses.pop() != _CLOSING[value]:
            raise _refused(text, f"the {value!r} at character {token.start() + 1} closes nothing")
    elif token.lastgroup == "parenthesis":
        open_parentheses.append(value)


def _refused(text: str, why: str) -> FilterError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return FilterError(f"filter {shown!r} cannot be used: {why}")
