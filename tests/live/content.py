"""What an index over a table must hold: of each row every character in chunks, their vectors, nothing else.

And what happens to its table while texts of it are embedded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import sqlrag
from sqlrag.indexing.sync import Sync
from tests.ingest.content import WORDS, assert_vectors


@contextmanager
def written_meanwhile(write: Callable[[], None]) -> Iterator[None]:
    """In the block, somebody writes each time after some rows have been embedded and before they are stored."""
    embed = Sync._embedded

    def embed_meanwhile(sync, queued):
        indexed = embed(sync, queued)
        write()
        return indexed

    with patch.object(Sync, "_embedded", embed_meanwhile):
        yield


def assert_in_step(db: sqlrag.Database, index: str, texts: Mapping[Any, str | None], *, vectors: bool = True) -> None:
    """The index has looked at everything, and holds exactly these rows (key to text; None: a row without)."""
    if db.engine == "sqlite":
        assert db.execute(f"SELECT count(*) FROM {index}_queue").fetchall() == [(0,)]
    rows = [key for (key,) in db.execute(f"SELECT source_id FROM {index}_rows")]
    assert sorted(map(_typed, rows)) == sorted(map(_typed, texts))
    chunks: dict[Any, list[tuple]] = {key: [] for key in texts}
    sql = f"SELECT source_id, ordinal, start_char, end_char, text, id, context FROM {index} ORDER BY id"
    by_id, passages = {}, {}
    for key, ordinal, start, end, text, id_, context in db.execute(sql):
        chunks[key].append((ordinal, start, end, text))
        by_id[id_], passages[id_] = text, context + text
    for key, text in texts.items():
        assert [chunk[0] for chunk in chunks[key]] == list(range(len(chunks[key]))), key
        assert [(text or "")[chunk[1] : chunk[2]] for chunk in chunks[key]] == [chunk[3] for chunk in chunks[key]], key
        assert "".join("".join(chunk[3] for chunk in chunks[key]).split()) == "".join((text or "").split()), key
    if vectors:
        assert_vectors(db, passages, index)
    for word in WORDS:
        found = db.execute("SELECT id FROM text_top_k(?, ?, 1000000)", [index, word]).fetchall()
        expected = {id_ for id_, text in by_id.items() if word in re.findall(r"\w+", text.lower())}
        assert {id_ for (id_,) in found} == expected, word
    assert db.check() == []


def _typed(key: Any) -> tuple[str, Any]:
    return type(key).__name__, key


def changes(report: sqlrag.SyncReport) -> tuple[int, int, int]:
    """Return how many rows a sync has added, changed and removed."""
    return report.added, report.changed, report.removed
