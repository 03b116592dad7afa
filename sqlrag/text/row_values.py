"""Values of a row's columns as text and as JSON, without changing what a reader sees of them."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import math
import re
from typing import Any

from sqlrag.text.documents import DEEPEST, Json, UnreadableError

__all__ = ["as_json", "as_text", "exact_number", "json_loads"]

# The whole numbers that SQLite and DuckDB have. JSON has larger ones, which both would read as fractions.
_INTEGERS = range(-(2**63), 2**63)

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_FRACTION = re.compile(r"-?[0-9]{1,20}\.[0-9]{1,20}(?:e[+-]?[0-9]{1,3})?")

# A double holds any decimal number of so many digits.
_EXACT_DIGITS = 15


def exact_number(text: str) -> int | float | None:
    """Return the number that reads back as the same characters, None if there is none.

    Ids of 19 digits stay whole, and `3.10`, `007` and `1e5` are no numbers: they would lose characters.
    """
    if _INTEGER.fullmatch(text):
        whole = int(text)
        return whole if whole in _INTEGERS and str(whole) == text else None
    if _FRACTION.fullmatch(text):
        fraction = float(text)
        return fraction if repr(fraction) == text else None
    return None


def json_loads(text: str) -> Any:
    """Return the value of a JSON text. A number that a double or 64 bits cannot hold stays text; NaN becomes None."""
    return json.loads(text, parse_constant=lambda _: None, parse_float=_json_float, parse_int=_json_int)


def _json_float(text: str) -> float | str:
    value = float(text)
    if not math.isfinite(value):
        return text
    return value if decimal.Decimal(text) == decimal.Decimal(repr(value)) else text


def _json_int(text: str) -> int | str:
    return text if len(text) > 20 or (value := int(text)) not in _INTEGERS else value


def as_text(value: Any, where: str) -> str:
    """Return a value of a column as text. A string stays as it is, and NULL becomes the empty string."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise UnreadableError(f"{where} has bytes where text should be, and they are not UTF-8") from error
    safe = as_json(value, where)
    return safe if isinstance(safe, str) else json.dumps(safe, ensure_ascii=False)


def as_json(value: Any, where: str, depth: int = 0) -> Json:  # noqa: PLR0911, C901 - one return for each type
    """Return a value as JSON can hold it: a date in ISO 8601, bytes in base64, NaN as null."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if value in _INTEGERS else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, decimal.Decimal):
        return _of_decimal(value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if depth >= DEEPEST:
        raise UnreadableError(f"{where} has lists or objects nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        return {str(key): as_json(inner, where, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(inner, where, depth + 1) for inner in value]
    return str(value)


def _of_decimal(value: decimal.Decimal) -> Json:
    if not value.is_finite():
        return None
    if value == value.to_integral_value():
        whole = int(value)
        return whole if whole in _INTEGERS else format(value, "f")
    return float(value) if len(value.as_tuple().digits) <= _EXACT_DIGITS else format(value, "f")
