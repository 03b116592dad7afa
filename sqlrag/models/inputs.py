"""What may be given to a model: text, or several texts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sqlrag.errors import InputError

__all__ = ["as_text", "as_texts"]

_SURROGATES = re.compile("[\ud800-\udfff]")
_SHOWN = 60


def as_text(value: Any, name: str) -> str:
    """Return `value` as a text that every tokenizer takes; lone surrogates become U+FFFD.

    Raises InputError where it is not a str, naming the argument and the value.
    """
    if not isinstance(value, str):
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
        msg = f"{name} must be a str, not {type(value).__name__}: {shown}"
        raise InputError(msg)
    # UTF-8 has no lone surrogates; SQLite and files can still deliver them.
    return value if value.isascii() else _SURROGATES.sub("\ufffd", value)


def as_texts(values: Any, name: str) -> list[str]:
    """Return an iterable of texts as a list; each is checked as by `as_text`, and named by its position."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        shown = repr(values)[:_SHOWN]
        msg = f"{name} must be a sequence of str, not {type(values).__name__}: {shown}"
        raise InputError(msg)
    return [as_text(value, f"{name}[{position}]") for position, value in enumerate(values)]
