"""What a database must hold of some documents: every character in chunks, their vectors, their words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import sqlrag

WORDS = ("honeycomb", "bank", "sourdough", "lighthouse", "verb", "comet", "walnut", "ferry")
"""Words that the porter stemmer keeps apart."""


def read_texts(folder: Path) -> dict[str, str]:
    """Return the text files of a folder by their uris."""
    return {str(path): path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.txt"))}


def assert_holds(db: sqlrag.Database, documents: dict[str, str], index: str = "chunks") -> None:
    """The index answers for exactly these documents (uri to text): chunks, vectors, full text."""
    stored = dict(db.execute("SELECT uri, text FROM documents WHERE index_name = ?", [index]).fetchall())
    assert stored == documents
    chunks: dict[str, list[tuple]] = {uri: [] for uri in documents}
    sql = f"""
        SELECT d.uri, c.ordinal, c.start_char, c.end_char, c.text, c.token_count, c.id, c.context || c.text
        FROM   {index} AS c LEFT JOIN documents AS d ON d.id = c.source_id ORDER BY d.uri, c.ordinal
    """
    for uri, *chunk in db.execute(sql):
        chunks[uri].append(tuple(chunk))
    for uri, text in documents.items():
        assert [chunk[0] for chunk in chunks[uri]] == list(range(len(chunks[uri]))), uri
        assert [text[chunk[1] : chunk[2]] for chunk in chunks[uri]] == [chunk[3] for chunk in chunks[uri]], uri
        assert "".join(chunk[3] for chunk in chunks[uri]).split() or not text.strip(), uri
        assert "".join("".join(chunk[3] for chunk in chunks[uri]).split()) == "".join(text.split()), uri
    every = [chunk for document in chunks.values() for chunk in document]
    texts = [chunk[3] for chunk in every]
    assert [chunk[4] for chunk in every] == db.embedder.token_counts(texts)
    assert_vectors(db, {chunk[5]: chunk[6] for chunk in every}, index)
    for word in WORDS:
        found = db.execute("SELECT id FROM text_top_k(?, ?, 1000000)", [index, word]).fetchall()
        assert {row[0] for row in found} == {chunk[5] for chunk in every if word in chunk[3]}, word
    assert db.check() == []


def assert_vectors(db: sqlrag.Database, texts: dict[int, str], index: str = "chunks") -> None:
    """The stored vectors are those that the model makes of contexts and texts (by chunk id) now."""
    ids = sorted(texts)
    expected = db.embedder.encode_document([texts[id_] for id_ in ids])
    if db.engine == "sqlite":
        rows = db.execute(f"SELECT rowid, embedding FROM {index}_vec ORDER BY rowid").fetchall()
        vectors = [np.frombuffer(row[1], np.float32) for row in rows]
    else:
        rows = db.execute(f"SELECT id, embedding FROM {index}_embedding ORDER BY id").fetchall()
        vectors = [np.array(row[1], np.float32) for row in rows]
    assert [row[0] for row in rows] == ids
    assert all(np.array_equal(one, other) for one, other in zip(vectors, expected, strict=True))


def chunks_of(db: sqlrag.Database) -> list[tuple]:
    """Return all that an ingest determines of the chunks, ids aside."""
    return db.execute(
        "SELECT d.uri, d.title, d.metadata, d.content_hash, c.ordinal, c.start_char, c.end_char, c.text, c.token_count "
        "FROM documents AS d LEFT JOIN chunks AS c ON c.source_id = d.id ORDER BY d.uri, c.ordinal"
    ).fetchall()


def write_folder(folder: Path, documents: int, paragraphs: int = 6) -> Path:
    """Write text files of several short paragraphs, no two the same, every word of WORDS in some."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(documents):
        text = "\n\n".join(
            f"Note {number}, part {part}: the {WORDS[(number + part) % len(WORDS)]} and the "
            f"{WORDS[(3 * number + part) % len(WORDS)]} were seen {number * part + 2} times before noon."
            for part in range(paragraphs)
        )
        (folder / f"note{number:03}.txt").write_text(text, encoding="utf-8")
    return folder
