"""Text from a database as a terminal may show it."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """Return a text without characters that could drive a terminal; line breaks and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
