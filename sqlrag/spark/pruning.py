"""Which shards a filter can match, by the least and the greatest value of each column: the others are not opened.

Of the conditions that a filter joins by AND, those that compare a column with a value are looked at; whatever else
stands in it may match. So a shard that has a matching row is never left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlrag.spark.manifest import Range
from sqlrag.store.filters import check_filter, check_filter_params
from sqlrag.values.sql_lexer import SQLITE, significant

__all__ = ["may_match"]

_COLUMN = r'("(?:[^"]|"")+"|\w+)'
_VALUE = r"((?:[-+] )?\d[\d.]*|'(?:[^']|'')*'|[:$@]\w+)"
_COMPARED = re.compile(f"{_COLUMN} (=|==|<|<=|>|>=) {_VALUE}")
_BETWEEN = re.compile(f"{_COLUMN} between {_VALUE} and {_VALUE}", re.IGNORECASE)
_IN = re.compile(rf"{_COLUMN} in \( ({_VALUE}(?: , {_VALUE})*) \)", re.IGNORECASE)


def may_match(filter: object, params: object, ranges: Mapping[str, Range]) -> bool:  # noqa: A002 - the contract's name
    """Tell whether rows within these ranges may satisfy a filter. Raises FilterError for what is not a filter."""
    checked, values = check_filter(filter), check_filter_params(params)
    if checked is None:
        return True
    known = {column.lower(): one for column, one in ranges.items()}
    return all(_possible(condition, values, known) for condition in _conditions(checked))


@lru_cache(maxsize=256)
def _conditions(text: str) -> Sequence[str]:
    """Return the conditions that AND joins, with a space between lexemes; none if there is an OR beside them."""
    parts: list[list[str]] = [[]]
    depth = 0
    between = False
    for one in significant(text, SQLITE):
        word = one.text.lower()
        depth += (one.kind == "open") - (one.kind == "close")
        if depth == 0 and word in ("or", "case"):
            return ()
        if depth == 0 and word == "and" and not between:
            parts.append([])
            continue
        between = word == "between" or (between and word != "and")
        if word == "=" and parts[-1] and parts[-1][-1] in "<>=":
            parts[-1][-1] += word  # an operator of two characters
        else:
            parts[-1].append(one.text)
    return tuple(map(" ".join, parts))


def _possible(condition: str, params: Mapping[str, Any], ranges: Mapping[str, Range]) -> bool:
    """Tell whether a condition can be true; True for one that is not a plain comparison."""

    def compared(column: str, operator: str, value: str) -> bool:
        name = column[1:-1].replace('""', '"') if column.startswith('"') else column
        return name.lower() not in ranges or _within(ranges[name.lower()], operator, _value(value, params))

    if match := _COMPARED.fullmatch(condition):
        return compared(match[1], match[2], match[3])
    if match := _BETWEEN.fullmatch(condition):
        return compared(match[1], ">=", match[2]) and compared(match[1], "<=", match[3])
    if match := _IN.fullmatch(condition):
        return any(compared(match[1], "=", value[0]) for value in re.finditer(_VALUE, match[2]))
    return True


def _value(text: str, params: Mapping[str, Any]) -> Any:
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    if text[0] in ":$@":
        return params.get(text[1:])
    plain = text.replace(" ", "")
    return float(plain) if plain.count(".") == 1 else int(plain) if plain.lstrip("+-").isdecimal() else None


def _within(column: Range, operator: str, value: Any) -> bool:
    """Tell whether a value of a column can compare so with this one; True where SQLite would convert one of them."""
    low: Any = column.low
    high: Any = column.high
    kinds = [isinstance(one, str) for one in (low, high, value)]
    if None in (low, high, value) or isinstance(value, (bool, bytes)) or len(set(kinds)) > 1:
        return value is None or low is not None
    if operator in ("<", "<="):
        return bool(low < value or (low == value and operator == "<="))
    if operator in (">", ">="):
        return bool(high > value or (high == value and operator == ">="))
    return bool(low <= value <= high)
