"""The values of a statement's parameters: Python's and numpy's types converted to those of an engine.

A number stays a number whatever its type: apsw would store an `np.int64` as its eight bytes. A value that an engine
cannot store is refused; the error names the parameter and says what to pass instead.
"""

from __future__ import annotations

import enum
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlrag.errors import InputError
from sqlrag.values.arguments import number, shown, whole

__all__ = ["as_json", "bound", "duckdb_value", "sqlite_value"]

Params = Mapping[str, Any] | Sequence[Any] | None


def bound(params: Params, value_of: Callable[[str, Any], Any]) -> Mapping[str, Any] | list[Any] | None:
    """Return a statement's parameters with each value converted by `value_of(name, value)`.

    Raises InputError unless they are a mapping of names or a sequence of values.
    """
    if params is None:
        return None
    if isinstance(params, Mapping):
        return _Named(params, value_of)
    if isinstance(params, Sequence) and not isinstance(params, (str, bytes, bytearray, memoryview)):
        return [value_of(f"number {place}", value) for place, value in enumerate(params, start=1)]
    raise InputError(
        f"params is {shown(params)}: it is a mapping of names, such as {{'q': 'bees'}} for :q, or a sequence of "
        "values for ?"
    )


class _Named(Mapping[str, Any]):
    """Values by name, each converted when it is read, so that an unused one may be of any type."""

    def __init__(self, params: Mapping[str, Any], value_of: Callable[[str, Any], Any]) -> None:
        self._params = params
        self._value_of = value_of

    def __getitem__(self, name: str) -> Any:
        return self._value_of(f":{name}", self._params[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __contains__(self, name: object) -> bool:
        return name in self._params


def sqlite_value(name: str, value: Any, taker: str = "SQLite") -> Any:
    """Convert a value to one that SQLite stores: None, a number of 64 bits, a text or bytes.

    Errors name `taker` as what does not take the value.
    """
    value = _plain(value)
    if value is None or isinstance(value, (bool, float)) or type(value) is bytes:
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise _refused(name, value, f"{taker} takes whole numbers of 64 bits: pass a float, or str() of it")
        return value
    if isinstance(value, str):
        return _unicode(name, value)
    if isinstance(value, Decimal):
        return _exact(name, value, taker)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if (vector := _vector(value)) is not None:
        return vector
    raise _refused(name, value, f"{taker} takes no such type: pass {_instead(value)}")


def duckdb_value(name: str, value: Any) -> Any:
    """Convert a value to one that DuckDB accepts; dates, decimals, lists and others stay as they are."""
    value = _plain(value)
    if value is None or type(value) in (bool, float, bytes):
        return value
    if isinstance(value, str):
        return _unicode(name, value)
    if isinstance(value, int):
        if not -(2**127) <= value < 2**128:
            raise _refused(name, value, "DuckDB's whole numbers have 128 bits: pass a float, or str() of it")
        return int(value)
    if isinstance(value, (list, tuple)):
        return [duckdb_value(name, one) for one in value]
    if isinstance(value, Mapping):
        return {key: duckdb_value(name, one) for key, one in value.items()}
    if isinstance(value, (set, frozenset, range, enum.Enum)) or type(value) is object or _typecode(value):
        raise _refused(name, value, f"DuckDB has no such type: pass {_instead(value)}")
    return value


def as_json(params: Params) -> str | None:
    """Return named values as a JSON object for `filter_params`; None for None.

    Raises InputError unless they are a mapping of names, and for a value that JSON cannot represent.
    """
    if params is None:
        return None
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        raise InputError(f"params is {shown(params)}: it is a mapping of names, such as {{'lang': 'en'}} for :lang")
    values = {name: sqlite_value(f":{name}", value, "a filter") for name, value in params.items()}
    for name, value in values.items():
        if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
            raise _refused(f":{name}", value, "a filter takes texts, finite numbers, True, False and None")
    return json.dumps(values, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Convert scalars of numpy, and numbers of other classes, to Python's own types."""
    if isinstance(value, (int, float, str, bytes)) and type(value).__module__ == "builtins":
        return value
    numpy = sys.modules.get("numpy")  # incomplete while another thread imports it
    scalar, array = getattr(numpy, "generic", ()), getattr(numpy, "ndarray", ())
    if isinstance(value, scalar) or (isinstance(value, array) and not value.ndim):
        value = value.item()
        if isinstance(value, scalar):  # a longdouble, for which Python has no type
            found = number(value)
            return value if found is None else found
    if isinstance(value, (int, float)):  # an IntEnum; True
        return value
    count = whole(value)
    return value if count is None else count


def _unicode(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"parameter {name} has a lone surrogate in it, so it is not Unicode: "
            "replace it, e.g. text.encode('utf-8', 'replace').decode()"
        ) from None
    return value


def _exact(name: str, value: Decimal, taker: str) -> int | float:
    """Convert a decimal to one of SQLite's numbers. Raises InputError if a digit would be lost."""
    if value.is_finite():
        if value == value.to_integral_value() and abs(value) < 2**63:
            return int(value)
        rounded = float(value)
        if Decimal(repr(rounded)) == value:
            return rounded
    raise _refused(name, value, f"{taker} takes no exact decimals: pass float() or str() of it")


def _typecode(value: Any) -> str:
    """Return the type code of an `array.array`; an empty text for anything else."""
    array = sys.modules.get("array")
    return str(value.typecode) if array is not None and isinstance(value, array.array) else ""


def _vector(value: Any) -> bytes | None:
    """Return the bytes of a float32 vector, the format of sqlite-vec; None for anything else."""
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    if array is not None and isinstance(value, array) and value.dtype == "float32" and value.ndim == 1:
        return bytes(value.tobytes())
    return bytes(value.tobytes()) if _typecode(value) == "f" else None


def _instead(value: Any) -> str:
    """Return the expression that an error recommends for a value."""
    import datetime as dt
    import uuid

    remedies: tuple[tuple[Any, str], ...] = (
        ((dt.date, dt.time), "value.isoformat()"),
        (dt.timedelta, "value.total_seconds()"),
        (uuid.UUID, "str(value)"),
        (enum.Enum, "value.value"),
        ((list, tuple, dict), "json.dumps(value)"),
        ((set, frozenset, range), "json.dumps(list(value))"),
    )
    for types, remedy in remedies:
        if isinstance(value, types):
            return remedy
    if hasattr(value, "dtype") or _typecode(value):
        return "a vector of float32, value.astype('float32')"
    return "a number, a text or bytes"


def _refused(name: str, value: Any, why: str) -> InputError:
    return InputError(f"parameter {name} is {shown(value)[:120]} of type {type(value).__name__}: {why}")
