"""Values of a row's columns as text and as JSON."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import math
from typing import TYPE_CHECKING, Any

from sqlrag.text.documents import UnreadableError

if TYPE_CHECKING:
    from sqlrag.text.documents import Json

__all__ = ["as_json", "as_text"]


def as_text(value: Any, where: str) -> str:
    """Return a value as text: a string as it is, no value as the empty string."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise UnreadableError(f"{where} has bytes where text should be, and they are not UTF-8") from error
    safe = as_json(value)
    return safe if isinstance(safe, str) else json.dumps(safe, ensure_ascii=False)


def as_json(value: Any) -> Json:  # noqa: PLR0911 - one return for each type
    """Return a value as JSON has it: dates in ISO 8601, bytes in base64, a NaN as null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, decimal.Decimal):
        return as_json(int(value) if value == value.to_integral_value() else float(value))
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(inner) for inner in value]
    return str(value)
