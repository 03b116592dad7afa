"""What a person types, as an FTS5 expression that cannot fail.

FTS5's own syntax (https://www.sqlite.org/fts5.html#full_text_query_syntax) gives errors for a stray quote,
a hyphen or a NOT; so each word becomes a quoted string, and BM25 weighs how many of them match.
"""

from __future__ import annotations

import re

__all__ = ["match_expression"]

_WORD = re.compile(r"\w+")

# One word more costs one posting list more; a question has fewer, a pasted page need not stall, nor a pasted book.
_MAX_WORDS = 256
_MAX_CHARS = 100_000


def match_expression(text: str) -> str:
    """Return the FTS5 expression for any of the words of `text`; an empty phrase, which matches nothing, for none."""
    words = list(dict.fromkeys(word.lower() for word in _WORD.findall(text[:_MAX_CHARS])))[:_MAX_WORDS]
    return " OR ".join(f'"{word}"' for word in words) or '""'
