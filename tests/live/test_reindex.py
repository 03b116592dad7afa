"""An index made anew: with another model, other chunks, or as it was, while others read and write."""

from __future__ import annotations

import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

import sqlrag
from sqlrag import errors
from tests.conftest import PASSAGES
from tests.engine.databases import change_tables, copy_of

Q = "how long does a flight take"
OLD_MODEL = (
    "UPDATE sqlrag_indexes SET embedder = 'bge-small', embedder_hash = 'abcabcabcabc'",
    "UPDATE sqlrag_meta SET value = 'bge-small' WHERE key = 'embedder'",
)


def texts_of(db: sqlrag.Database, index: str) -> list[str]:
    """The texts of an index's chunks, in order of their rows."""
    return [text for (text,) in db.execute(f"SELECT text FROM {index} ORDER BY source_id, ordinal")]


def whole(db: sqlrag.Database) -> bool:
    """Nothing is wrong, and nothing of an index that was being made is left."""
    return db.check() == [] and not any("_next" in name for name in tables_of(db))


def tables_of(db: sqlrag.Database) -> list[str]:
    schema = "sqlite_schema" if db.engine == "sqlite" else "(SELECT table_name AS name FROM duckdb_tables())"
    return [name for (name,) in db.execute(f"SELECT name FROM {schema}")]


@pytest.fixture(scope="module")
def made(passage_files, tmp_path_factory):
    """On each engine the passages, and a table of their texts with an index."""
    paths = {engine: copy_of(path, tmp_path_factory.mktemp("made")) for engine, path in passage_files.items()}
    for path in paths.values():
        with sqlrag.connect(path) as db:
            db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT, lang TEXT)")
            db.execute("INSERT INTO review SELECT id, text, 'en' FROM documents")
            db.create_index("reviews", "review", "body", filters=["lang"])
    return paths


@pytest.fixture
def reviews(made, engine, tmp_path):
    """A copy of one of them."""
    with sqlrag.connect(copy_of(made[engine], tmp_path)) as db:
        yield db


def test_documents_of_a_model_that_is_not_here(engine, passage_files, tmp_path):
    """A database of another model names both models and the remedy, and the remedy works: the same answers as ever."""
    path = copy_of(passage_files[engine], tmp_path)
    with sqlrag.connect(path) as db:
        expected = [hit.text for hit in db.search(Q)]
    change_tables(path, *OLD_MODEL)
    with pytest.raises(errors.ModelMismatchError, match=r"bge-small.*sqlrag reindex DB --model all-MiniLM-L6-v2"):
        sqlrag.connect(path, embedder="all-MiniLM-L6-v2")
    with sqlrag.connect(path) as db:
        report = db.reindex("chunks", embedder="all-MiniLM-L6-v2")
        assert (report.added, report.backlog) == (25, 0)
        assert [hit.text for hit in db.search(Q)] == expected
        assert len(db.execute("SELECT embed('x')").fetchall()) == 1
        assert whole(db)
        assert db.ingest(PASSAGES).unchanged == 25
    with sqlrag.connect(path, read_only=True, embedder="all-MiniLM-L6-v2") as db:
        assert [hit.text for hit in db.search(Q)] == expected


def test_other_chunks(reviews):
    """Smaller chunks, with ids that no chunk had before; the table is as it was, and its changes are still noticed."""
    before = reviews.execute("SELECT * FROM review ORDER BY id").fetchall()
    ((last,),) = reviews.execute("SELECT max(id) FROM reviews").fetchall()
    report = reviews.reindex("reviews", max_tokens=30)
    assert report.added == 25
    ((first, chunks),) = reviews.execute("SELECT min(id), count(*) FROM reviews").fetchall()
    assert first > last
    assert chunks > 25
    assert [info.max_tokens for info in reviews.info() if info.index == "reviews"] == [30]
    assert reviews.execute("SELECT * FROM review ORDER BY id").fetchall() == before
    reviews.execute("UPDATE review SET body = 'Wombats sleep all day.' WHERE id = 3")
    hit = reviews.search("which animal sleeps long?", "reviews", filter="lang = 'en'")[0]
    assert (hit.source_id, hit.text, hit.metadata) == (3, "Wombats sleep all day.", {"lang": "en"})
    assert whole(reviews)


def test_codes_only(reviews, monkeypatch):
    """Codes that are lost or wrong are made of the vectors: no text is embedded, and the chunks keep their ids."""
    expected = reviews.execute(f"SELECT * FROM vector_top_k('reviews', '{Q}', 9)").fetchall()
    file = reviews.path if reviews.engine == "sqlite" else f"{reviews.path}.sqlrag"
    change_tables(Path(file), "UPDATE reviews_codes SET codes = zeroblob(length(codes))")
    assert reviews.check() != []
    monkeypatch.setattr(sqlrag.Embedder, "encode_document", Mock(side_effect=AssertionError("embedded")))
    report = reviews.reindex("reviews", codes_only=True)
    assert (report.unchanged, report.added, report.chunks) == (25, 0, 0)
    monkeypatch.undo()
    assert whole(reviews)
    assert reviews.execute(f"SELECT * FROM vector_top_k('reviews', '{Q}', 9)").fetchall() == expected
    change_tables(Path(file), "DELETE FROM reviews_codes")
    sql = """SELECT sqlrag_reindex('reviews', '{"codes_only": true}')"""
    assert reviews.execute(sql).fetchall() == [(25,)]
    assert whole(reviews)


def test_codes_only_with_another_option(reviews):
    """What needs every text to be embedded does not go with it."""
    for option in ({"max_tokens": 30}, {"embedder": "all-MiniLM-L6-v2"}, {"vectors": "int8"}):
        with pytest.raises(
            errors.InputError, match="leave out embedder, max_tokens, overlap and vectors, or codes_only"
        ):
            reviews.reindex("reviews", codes_only=True, **option)
    with pytest.raises(errors.InputError, match=r"reindex\(\): codes_only is 'yes'"):
        reviews.reindex("reviews", codes_only="yes")


def test_codes_only_read_only(made, engine, tmp_path):
    """Nothing can be written."""
    with (
        sqlrag.connect(copy_of(made[engine], tmp_path), read_only=True) as reviews,
        pytest.raises(errors.ReadOnlyError, match="is open read-only"),
    ):
        reviews.reindex("reviews", codes_only=True)


def test_int8_vectors(reviews):
    """The vectors may be rounded."""
    reviews.reindex("reviews", vectors="int8")
    assert [info.vectors for info in reviews.info() if info.index == "reviews"] == ["int8"]
    assert len(reviews.search(Q, "reviews")) == 3
    assert whole(reviews)


def test_stopped_and_taken_up(reviews, monkeypatch):
    """Ctrl-C in the middle: the old index answers, and the same call embeds only what is missing."""
    monkeypatch.setattr("sqlrag.indexing.sync.BATCH_ROWS", 10)
    told = []

    def stop(progress) -> None:
        told.append(progress.documents)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reviews.reindex("reviews", max_tokens=30, progress=stop)
    assert told == [10]
    assert texts_of(reviews, "reviews") == texts_of(reviews, "chunks")
    assert reviews.indexes() == ["chunks", "reviews"]
    assert len(reviews.search(Q, "reviews")) == 3
    assert reviews.reindex("reviews", max_tokens=30).added == 15
    assert whole(reviews)


def test_stopped_and_begun_otherwise(reviews, monkeypatch):
    """What was begun with other settings is thrown away."""
    monkeypatch.setattr("sqlrag.indexing.sync.BATCH_ROWS", 10)

    def stop(_) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reviews.reindex("chunks", max_tokens=30, progress=stop)
    assert reviews.reindex("chunks", max_tokens=50).added == 25
    assert whole(reviews)


def test_dropped_while_it_is_made_anew(reviews, monkeypatch):
    """drop_index takes along what was begun in its place."""
    monkeypatch.setattr("sqlrag.indexing.sync.BATCH_ROWS", 10)

    def stop(_) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reviews.reindex("reviews", max_tokens=30, progress=stop)
    reviews.drop_index("reviews")
    assert whole(reviews)
    assert not [name for name in tables_of(reviews) if name.startswith("reviews")]


def test_rows_that_change_meanwhile(reviews, monkeypatch):
    """Rows written between the embedding and the switch are in the new index, too."""
    monkeypatch.setattr("sqlrag.indexing.sync.BATCH_ROWS", 10)
    written = []

    def write(_) -> None:
        if not written:
            written.append(1)
            reviews.execute("UPDATE review SET body = 'Wombats sleep all day.' WHERE id = 1")
            reviews.execute("DELETE FROM review WHERE id = 2")
            reviews.execute("INSERT INTO review VALUES (99, 'Bees dance.', 'en')")

    reviews.reindex("reviews", max_tokens=30, progress=write)
    rows = dict(reviews.execute("SELECT source_id, text FROM reviews WHERE ordinal = 0").fetchall())
    assert (rows[1], 2 in rows, rows[99], len(rows)) == ("Wombats sleep all day.", False, "Bees dance.", 25)
    assert whole(reviews)


@pytest.mark.parametrize("engine", ["sqlite"])  # DuckDB lets no second process in
def test_readers_go_on(reviews):
    """A reader of the same file finds whole answers before, during and after."""
    done = threading.Event()
    found: list[int] = []

    def read() -> None:
        with sqlrag.connect(reviews.path, read_only=True) as reader:
            while not done.is_set():
                sql = (
                    "SELECT count(c.text) FROM vector_top_k('reviews', :q, 5) AS hit JOIN reviews AS c ON c.id = hit.id"
                )
                found.append(reader.execute(sql, {"q": Q}).fetchall()[0][0])

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for max_tokens in (30, 60, 200):
            reviews.reindex("reviews", max_tokens=max_tokens)
    finally:
        done.set()
        thread.join()
    assert set(found) == {5}


def test_what_cannot_be(reviews):
    """An index that is not there, chunks that the model's window does not hold, a model that is none."""
    with pytest.raises(errors.UnknownIndexError, match="'nope'"):
        reviews.reindex("nope")
    with pytest.raises(errors.InputError, match="max_tokens"):
        reviews.reindex("reviews", max_tokens=0)
    with pytest.raises(errors.Error, match="'no-such-model'"):
        reviews.reindex("reviews", embedder="no-such-model")
    with pytest.raises(errors.InputError, match="_next"):
        reviews.create_index("reviews_next", "review", "body")
    assert whole(reviews)


def test_alter_the_text(reviews):
    """Another text: what becomes another is embedded again, what stays is not."""
    reviews.execute("UPDATE review SET lang = body WHERE id > 5")
    report = reviews.alter_index("reviews", text="lang")
    assert (report.changed, report.unchanged, report.added) in {(5, 20, 0), (5, 0, 0)}
    assert texts_of(reviews, "reviews")[:5] == ["en"] * 5
    reviews.execute("UPDATE review SET lang = 'Wombats sleep all day.' WHERE id = 1")
    assert reviews.search("which animal sleeps long?", "reviews")[0].source_id == 1
    assert whole(reviews)


def test_alter_tokenizer_and_filters(reviews):
    """Parts of words are found once the tokenizer is trigram; hits carry along what filters names now."""
    sql = "SELECT count(*) FROM text_top_k('reviews', 'accin', 5)"
    assert reviews.execute(sql).fetchall() == [(0,)]
    reviews.alter_index("reviews", tokenizer="trigram", filters=["id", "lang"])
    assert reviews.execute(sql).fetchall() == [(1,)]
    assert set(reviews.search(Q, "reviews")[0].metadata) == {"id", "lang"}
    reviews.alter_index("chunks", tokenizer="unicode61")
    assert whole(reviews)
    with pytest.raises(errors.InputError, match="ingested documents"):
        reviews.alter_index("chunks", text="title")


@pytest.mark.torch
def test_a_model_of_another_dimension(reviews, tmp_path):
    """From 384 dimensions to 32: embed() follows, in the same connection and in the next."""
    pytest.importorskip("sentence_transformers", reason="the torch extra is not installed: pip install 'sqlrag[torch]'")
    from sqlrag.models.export.onnx_export import export_onnx
    from tests.models.tiny import make_bi_encoder

    export_onnx(make_bi_encoder(tmp_path / "tiny", "bert"), tmp_path / "onnx", kind="bi-encoder", name="tiny")
    for index in ("chunks", "reviews"):
        reviews.reindex(index, embedder=str(tmp_path / "onnx"))
    sql = "SELECT id FROM vector_top_k('reviews', embed('bees'), 5)"
    assert len(reviews.execute(sql).fetchall()) == 5
    assert {info.dimension for info in reviews.info()} == {32}
    assert whole(reviews)
