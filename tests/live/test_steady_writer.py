"""Somebody writes all the time: sync and reindex end all the same, a query waits for little, and nothing is lost."""

from __future__ import annotations

import time
import warnings
from unittest.mock import patch

import apsw
import pytest

import sqlrag
from sqlrag import errors
from sqlrag.indexing.sync import Sync
from sqlrag.text.documents import Document
from tests.conftest import ENGINES, database_path
from tests.engine.databases import assert_says, copy_of
from tests.live.content import written_meanwhile

pytestmark = pytest.mark.slow

MOST_STEPS = 200
"""A run that takes more is taken for one without an end."""


class Writer:
    """Inserts rows of a table each time it is called, as often as a run may call it."""

    def __init__(self, db: sqlrag.Database, rows: int) -> None:
        self.db = db
        self.rows = rows
        self.steps = 0
        self.next_id = 1_000

    def __call__(self) -> None:
        self.steps += 1
        assert self.steps < MOST_STEPS, "this would never end"
        for _ in range(self.rows):
            self.db.execute("INSERT INTO review VALUES (?, 'The ferry is late.')", (self.next_id,)).fetchall()
            self.next_id += 1


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """On each engine a table of twenty texts with an index."""
    paths = {engine: database_path(tmp_path_factory.mktemp("made"), engine) for engine in ENGINES}
    for path in paths.values():
        with sqlrag.connect(path) as db:
            db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT)")
            for number in range(20):
                db.execute("INSERT INTO review VALUES (?, ?)", (number, f"Kettle number {number} sings."))
            db.create_index("reviews", "review", "body")
    return paths


@pytest.fixture
def reviews(made, engine, tmp_path, monkeypatch):
    """A copy of one of them, whose index takes two rows at a time."""
    with sqlrag.connect(copy_of(made[engine], tmp_path)) as db:
        monkeypatch.setattr("sqlrag.indexing.sync.BATCH_ROWS", 2)
        yield db


def missing(db: sqlrag.Database) -> list[int]:
    """The rows whose text is not that of their chunk."""
    sql = "SELECT review.id FROM review LEFT JOIN reviews ON source_id = review.id WHERE coalesce(text, '') <> body"
    return [id_ for (id_,) in db.execute(f"{sql} ORDER BY review.id")]


def test_sync_ends(reviews):
    """What was queued when it began is in; what came meanwhile is its backlog, and the next one's work."""
    reviews.execute("UPDATE review SET body = body || '!' WHERE id < 10").fetchall()
    writer = Writer(reviews, 3)
    with written_meanwhile(writer):
        report = reviews.sync()
    assert report.changed == 10
    left = missing(reviews)
    assert left == list(range(1_000 + report.added, writer.next_id))
    assert reviews.backlog() == {"reviews": len(left)}
    assert reviews.sync().added == len(left) > 0
    assert missing(reviews) == []


def test_sync_ends_where_one_row_never_rests(reviews):
    """A row that is another each time it is embedded is left; the others are in."""
    reviews.execute("UPDATE review SET body = body || '!' WHERE id < 5").fetchall()

    def write() -> None:
        reviews.execute("UPDATE review SET body = body || '?' WHERE id = 0").fetchall()

    with written_meanwhile(write):
        assert reviews.sync().changed == 4
    assert missing(reviews) == [0]
    assert reviews.sync().changed == 1


@pytest.mark.parametrize("rows", [1, 3])
def test_reindex_takes_the_place(reviews, rows):
    """Whether others write half as fast as rows are embedded or faster: the index is the new one, with a backlog."""
    writer = Writer(reviews, rows)
    with written_meanwhile(writer):
        report = reviews.reindex("reviews", max_tokens=50)
    assert reviews.indexes() == ["reviews"]
    assert reviews.info()[0].max_tokens == 50
    left = missing(reviews)
    assert reviews.backlog().get("reviews", 0) == len(left) > 0
    assert left == list(range(left[0], writer.next_id))
    if reviews.engine == "sqlite":  # DuckDB's is what a comparison has found
        assert report.backlog == len(left)
    reviews.sync()
    assert missing(reviews) == reviews.check() == []


def test_rows_of_the_last_moment(reviews):
    """Written after the last round, just before the new index takes the place: they are its backlog, not lost."""
    switch = reviews._engine.switch

    def late(*records: object) -> None:
        reviews.execute("UPDATE review SET body = 'Wombats sleep.' WHERE id = 1").fetchall()
        reviews.execute("DELETE FROM review WHERE id = 2").fetchall()
        switch(*records)
        assert reviews.backlog() == {"reviews": 2}

    with patch.object(reviews._engine, "switch", late):
        assert reviews.reindex("reviews").backlog == 0
    assert missing(reviews) == reviews.check() == []
    assert reviews.execute("SELECT count(*) FROM reviews").fetchall() == [(19,)]


def document(name: str, text: str) -> Document:
    return Document(name, "", text, {}, f"hash of {text}")


def test_documents_of_the_last_moment(engine, tmp_path):
    """Ingested, replaced and removed just before the switch: the index has them as they are, none is in part."""
    with sqlrag.connect(database_path(tmp_path, engine)) as db, sqlrag.connect(db.path) as other:
        db.ingest([document(name, f"Kettle {name} sings.") for name in "abcd"])
        switch = db._engine.switch

        def late(*records: object) -> None:
            texts = {"a": "Kettle a sings.", "b": "Wombats sleep.", "e": "Bees dance."}
            other.ingest([document(*pair) for pair in texts.items()], prune=True)
            switch(*records)

        with patch.object(db._engine, "switch", late):
            db.reindex("chunks", max_tokens=50)
        sql = "SELECT uri, chunks.text FROM documents LEFT JOIN chunks ON source_id = documents.id ORDER BY uri"
        found = [("a", "Kettle a sings."), ("b", "Wombats sleep."), ("e", "Bees dance.")]
        assert db.execute(sql).fetchall() == found
        assert db.check() == []
        assert other.ingest([document(*pair) for pair in found]).unchanged == 3


# What another process makes anew meanwhile


def test_made_anew_while_a_sync_embeds(reviews):
    """Nothing is written with the old settings: the sync goes on with the new ones."""
    body = "The kettle sings. " * 30
    reviews.execute("UPDATE review SET body = ? WHERE id = 1", (body,)).fetchall()
    with sqlrag.connect(reviews.path) as other:
        begun: list[int] = []

        def remake() -> None:
            if not begun:
                begun.append(1)
                other.reindex("reviews", max_tokens=20)
                other.execute("UPDATE review SET body = ? WHERE id = 3", (body,)).fetchall()

        with written_meanwhile(remake):
            assert reviews.sync().backlog == 0
    reviews.sync()
    sql = "SELECT count(*), max(token_count) FROM reviews WHERE source_id IN (1, 3) GROUP BY source_id"
    one, three = reviews.execute(sql).fetchall()
    assert one == three
    assert one[1] <= 20
    assert reviews.check() == []


def test_another_text_while_a_sync_embeds(reviews):
    """Altered by another connection: no row is left with the old text."""
    with sqlrag.connect(reviews.path) as other:
        reviews.execute("UPDATE review SET body = body || '!' WHERE id < 3").fetchall()
        begun: list[int] = []

        def alter() -> None:
            if not begun:
                begun.append(1)
                other.alter_index("reviews", text="review: {body}")

        with written_meanwhile(alter):
            reviews.sync()
    reviews.sync()
    ((others,),) = reviews.execute("SELECT count(*) FROM reviews WHERE text NOT LIKE 'review: %'").fetchall()
    assert others == 0
    assert reviews.check() == []


def test_made_anew_while_an_ingest_embeds(engine, tmp_path, monkeypatch):
    """The ingest stops with a clear error, and the same one again brings in what is missing."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHUNKS", 2)
    documents = [document(name, f"Kettle {name} sings.") for name in "abcdef"]
    with sqlrag.connect(database_path(tmp_path, engine)) as db, sqlrag.connect(db.path) as other:

        def remake(progress: sqlrag.IngestProgress) -> None:
            if progress.chunks == 2:
                other.reindex("chunks", max_tokens=50)

        with pytest.raises(errors.DatabaseError) as error:
            db.ingest(documents, progress=remake)
        assert_says(error.value, errors.DatabaseError, "'chunks' was made anew", "run the same ingest again")
        assert db.ingest(documents).added == 4
        assert db.execute("SELECT count(*) FROM chunks").fetchall() == [(6,)]
        assert db.check() == []


# The price of a query


def ask(db: sqlrag.Database) -> None:
    db.execute("SELECT * FROM text_top_k('reviews', 'kettle', 3)").fetchall()


def test_a_query_takes_one_step_after_another(reviews, monkeypatch):
    """It begins no further one when its time is over, and says what it leaves."""
    reviews.execute("UPDATE review SET body = body || '!'").fetchall()
    monkeypatch.setattr("sqlrag.indexing.freshness.SECONDS", 0.0)
    with pytest.warns(errors.BacklogWarning, match="does not have 4 changed rows"):
        ask(reviews)
    ask(reviews)
    assert missing(reviews) == []


def test_a_query_ends(reviews, monkeypatch):
    """It brings in no more rows than were queued when it began."""
    monkeypatch.setattr("sqlrag.indexing.freshness.SECONDS", 1e9)
    reviews.execute("UPDATE review SET body = body || '!'").fetchall()
    writer = Writer(reviews, 20)
    with written_meanwhile(writer), warnings.catch_warnings(record=True):  # of what came meanwhile
        ask(reviews)
    assert writer.steps == 2
    assert [id_ for id_ in missing(reviews) if id_ < 1_000] == []


def test_a_query_leaves_a_long_text(reviews):
    """It takes seconds to embed: sync does it. The rows behind it are brought in."""
    reviews.execute("UPDATE review SET body = ? WHERE id = 0", ("The kettle sings. " * 2_000,)).fetchall()
    reviews.execute("UPDATE review SET body = body || '!' WHERE id = 1").fetchall()
    embedded: list[str] = []
    embed = Sync._embedded

    def embed_seen(sync, queued):
        embedded.extend(row.text for row in queued)
        return embed(sync, queued)

    with patch.object(Sync, "_embedded", embed_seen), pytest.warns(errors.BacklogWarning, match="1 changed row"):
        ask(reviews)
    assert embedded == ["Kettle number 1 sings.!"]
    assert reviews.sync().changed == 1


def test_a_query_does_not_wait_for_a_writer(tmp_path):
    """While another process holds the write lock, it answers with what there is, and says so."""
    with sqlrag.connect(database_path(tmp_path, "sqlite")) as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO review VALUES (1, 'The kettle sings.')")
        db.create_index("reviews", "review", "body")
        db.execute("UPDATE review SET body = 'The kettle sings again.'").fetchall()
        other = apsw.Connection(db.path)
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.warns(errors.BacklogWarning, match="does not have 1 changed row"):
            ask(db)
        assert time.monotonic() - started < 5  # sqlrag's own time-out is 10
        other.execute("ROLLBACK")
        other.close()
        ask(db)
        assert missing(db) == []
