"""How much is embedded before it is written: what an ingest that is stopped loses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import sqlrag
from sqlrag.indexing.ingest import BATCH_CHUNKS, BATCH_TEXT, _parts
from sqlrag.text.chunking import Chunk
from sqlrag.text.documents import Document

DOCUMENT = Document("d", "", "", {}, "hash")


@given(st.lists(st.sampled_from([0, 1, 800, 40_000, 70_000]), max_size=30), st.integers(0, 600))
def test_parts_of_a_document(lengths, short):
    """Every chunk once, in order; no part goes on where it is full; the last one, and it alone, says so."""
    chunks = [Chunk(place, 0, length, "x" * length, 1) for place, length in enumerate([*lengths, *[20] * short])]
    parts = list(_parts(DOCUMENT, chunks))
    assert [chunk for part in parts for chunk in part.chunks] == chunks
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    for part in parts:
        assert len(part.chunks) <= BATCH_CHUNKS
        assert sum(len(chunk.text) for chunk in part.chunks[:-1]) < BATCH_TEXT


def test_long_chunks_are_written_soon(tmp_path):
    """Of chunks of a thousand characters less than a hundred wait together."""
    text = "The comet was seen again, and the ferry was late by some minutes on that day. " * 13
    documents = [Document(f"d{number}", "", f"{number}. {text}", {}, f"hash {number}") for number in range(150)]
    written: list[int] = []
    with sqlrag.connect(tmp_path / "notes.db") as db:
        db.ingest(documents, max_tokens=250, progress=lambda progress: written.append(progress.chunks))
    steps = [after - before for before, after in zip([0, *written], written, strict=False)]
    assert max(steps) < 100
    assert written[-1] >= 150
