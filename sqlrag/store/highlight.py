"""Which words of a text match those of a question: what FTS5 says with the tokenizer of the index."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlrag.store.full_text import TOKENIZERS, match_expression
from sqlrag.store.names import literal
from sqlrag.text.words import placed_words

__all__ = ["matching_words"]

_BEGIN, _END = "\x02", "\x03"
_MARK = re.compile(f"[{_BEGIN}{_END}]")

# FTS5 would take the first three for a mark or an end, and SQLite does not store half of a surrogate pair.
_UNREADABLE = re.compile("[\x00\x02\x03\ud800-\udfff]")

Span = tuple[int, int]


def matching_words(question: str, texts: Sequence[str], tokenizer: str) -> list[list[Span]]:
    """Return where each text has a word of the question, as `(start, end)` in characters, in order and apart.

    Words match as in full-text search with this tokenizer, so "migrations" matches "migrate" with porter. Function
    words of an English question match nothing.
    """
    import apsw

    searched = [placed_words(_UNREADABLE.sub(" ", text), pairs=tokenizer != "trigram") for text in texts]
    connection = apsw.Connection(":memory:")
    try:
        configuration = literal(TOKENIZERS[tokenizer])
        connection.execute(f"CREATE VIRTUAL TABLE main.passage USING fts5(text, tokenize={configuration})")
        rows = [(place, words) for place, (words, _) in enumerate(searched)]
        connection.executemany("INSERT INTO main.passage (rowid, text) VALUES (?, ?)", rows)
        sql = "SELECT rowid, highlight(passage, 0, ?, ?) FROM main.passage WHERE passage MATCH ?"
        marked = dict(connection.execute(sql, (_BEGIN, _END, match_expression(question, tokenizer))))
    finally:
        connection.close()
    return [_spans(marked.get(place, ""), places) for place, (_, places) in enumerate(searched)]


def _spans(marked: str, places: Sequence[Span]) -> list[Span]:
    """Return where the marks are in the text; `places`: where each character that was searched stands in it."""
    ends = [found.start() - number for number, found in enumerate(_MARK.finditer(marked))]
    spans = [(places[first][0], places[last - 1][1]) for first, last in zip(ends[::2], ends[1::2], strict=True)]
    apart: list[Span] = []
    for span in sorted(spans):
        before = apart.pop() if apart and span[0] < apart[-1][1] else span
        apart.append((before[0], max(before[1], span[1])))
    return apart
