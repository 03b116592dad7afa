"""Rows as JSON."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

__all__ = ["BLOB", "distinct", "json_value"]

BLOB = (bytes, bytearray, memoryview)
"""The types in which the engines return a BLOB."""


def json_value(value: Any) -> Any:
    """Convert a value to JSON: a BLOB as sqlite-utils writes it, `{"$base64": true, "encoded": …}`, NaN to null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, BLOB):
        return {"$base64": True, "encoded": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    return value


def distinct(columns: Sequence[str]) -> list[str]:
    """Return column names with `_2`, `_3` appended to repeated ones, because keys of an object are unique."""
    seen: dict[str, int] = {}
    names = []
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        names.append(column if seen[column] == 1 else f"{column}_{seen[column]}")
    return names
