"""Embedding beside reading and writing: the same vectors, errors where they belong, an end where nobody waits."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import sqlrag
from sqlrag import ahead
from sqlrag.ahead import EmbeddingAhead
from sqlrag.text.documents import Document
from tests.conftest import database_path
from tests.ingest.content import assert_holds


def documents(count: int) -> list[Document]:
    """Return documents of a chunk each."""
    texts = (f"The comet was seen {number} times from the lighthouse." for number in range(count))
    return [Document(f"d{number}", "", text, {}, f"hash {number}") for number, text in enumerate(texts)]


def broken(document: Document):
    """Yield some good documents, and raise."""
    yield from documents(12)
    raise ZeroDivisionError(document.uri)


@pytest.fixture(scope="module")
def embedder():
    """The bundled model."""
    return sqlrag.Embedder()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_the_vectors_are_those_of_one_call(embedder, monkeypatch, count):
    """Of none, of less than a slice, of slices that are not whole."""
    monkeypatch.setattr(ahead, "SLICE", 4)
    texts = [document.text for document in documents(count)]
    vectors = EmbeddingAhead(embedder, texts).vectors()
    assert vectors.shape == (count, embedder.dimension)
    assert np.array_equal(vectors, embedder.encode_document(texts))


def test_what_embedding_raises_comes_out(embedder):
    """In the thread of the one who asks for the vectors."""
    with pytest.raises(sqlrag.Error):
        EmbeddingAhead(embedder, ["a text", 5]).vectors()


def test_stopped_it_ends_with_its_slice(embedder, monkeypatch):
    """After Ctrl-C the rest of a batch is not embedded."""
    monkeypatch.setattr(ahead, "SLICE", 1)
    begun, go_on = threading.Event(), threading.Event()
    calls = []

    class Slow:
        def encode_document(self, texts):
            calls.append(texts)
            begun.set()
            go_on.wait(60)
            return embedder.encode_document(texts)

    running = EmbeddingAhead(Slow(), ["one", "two", "three"])
    assert begun.wait(60)
    running.stop()
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "sqlrag-embedding-ahead":
            thread.join(60)
    assert calls == [["one"]]


def test_batches_in_turn(engine, tmp_path, monkeypatch):
    """Whatever the number of documents is to that of a batch, all are there, each with its own vector."""
    monkeypatch.setattr("sqlrag.ingest.BATCH_CHUNKS", 4)
    for count in (1, 4, 5, 8, 11):
        with sqlrag.connect(database_path(tmp_path, engine, f"in{count}")) as db:
            told = []
            report = db.ingest(documents(count), progress=lambda now, told=told: told.append(now.chunks))
            assert (report.added, report.chunks, told[-1]) == (count, count, count)
            assert report.tokens == sum(db.embedder.token_counts([document.text for document in documents(count)]))
            assert_holds(db, {document.uri: document.text for document in documents(count)})


def test_an_error_of_the_callers_own_loses_two_batches_at_most(engine, tmp_path, monkeypatch):
    """What was written stays, nothing is half there, and the next run brings the rest."""
    monkeypatch.setattr("sqlrag.ingest.BATCH_CHUNKS", 4)
    with sqlrag.connect(database_path(tmp_path, engine)) as db:
        with pytest.raises(ZeroDivisionError):
            db.ingest(broken(documents(1)[0]))
        ((held,),) = db.execute("SELECT count(*) FROM documents")
        assert 4 <= held <= 12
        assert held % 4 == 0
        report = db.ingest(documents(12))
        assert (report.unchanged, report.added) == (held, 12 - held)
        assert_holds(db, {document.uri: document.text for document in documents(12)})
