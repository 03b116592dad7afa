"""How the full text of an index is cut into words: the tokenizers of FTS5 that an index may have.

https://www.sqlite.org/fts5.html#tokenizers
"""

from __future__ import annotations

from sqlrag.errors import InputError

__all__ = ["TOKENIZERS", "TRIGRAM", "check_tokenizer"]

TRIGRAM = "trigram"

TOKENIZERS = {
    "porter": "porter unicode61 remove_diacritics 2",
    "unicode61": "unicode61 remove_diacritics 2",
    TRIGRAM: "trigram remove_diacritics 1",
}
"""FTS5's words for each: English word stems, words as they are, any three characters; é is e in all of them.

For trigram that needs SQLite 3.45, which apsw brings; an older one of the standard library cannot read such an index.
"""


def check_tokenizer(name: object) -> str:
    """Return the name of a tokenizer. Raises InputError for one that there is not."""
    if not isinstance(name, str) or name not in TOKENIZERS:
        raise InputError(f"tokenizer is {name!r}: it is one of {', '.join(map(repr, TOKENIZERS))}")
    return name
