"""Which words of a text match those of a question: what FTS5 says with the tokenizer of the index."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlrag.store.full_text import TOKENIZERS, match_expression
from sqlrag.store.names import literal

__all__ = ["matching_words"]

_BEGIN, _END = "\x02", "\x03"
_MARK = re.compile(f"[{_BEGIN}{_END}]")


def matching_words(question: str, texts: Sequence[str], tokenizer: str) -> list[list[tuple[int, int]]]:
    """Return where each text has a word of the question, as `(start, end)` in characters.

    Words match as in full-text search with this tokenizer, so "migrations" matches "migrate" with porter. Function
    words of an English question match nothing.
    """
    import apsw

    # Characters that stand for nothing readable, one for each that FTS5 would take for a mark or an end.
    given = [re.sub("[\x00\x02\x03]", " ", text) for text in texts]
    connection = apsw.Connection(":memory:")
    try:
        configuration = literal(TOKENIZERS[tokenizer])
        connection.execute(f"CREATE VIRTUAL TABLE main.passage USING fts5(text, tokenize={configuration})")
        connection.executemany("INSERT INTO main.passage (rowid, text) VALUES (?, ?)", list(enumerate(given)))
        sql = "SELECT rowid, highlight(passage, 0, ?, ?) FROM main.passage WHERE passage MATCH ?"
        marked = dict(connection.execute(sql, (_BEGIN, _END, match_expression(question, tokenizer))))
    finally:
        connection.close()
    return [_spans(marked.get(place, "")) for place in range(len(texts))]


def _spans(marked: str) -> list[tuple[int, int]]:
    """Return where the marks are in the text without them."""
    places = [found.start() - number for number, found in enumerate(_MARK.finditer(marked))]
    return list(zip(places[::2], places[1::2], strict=True))
