"""An index in shards from DataFrames: what is built, changed and deleted is what one machine's database has."""

from __future__ import annotations

import json
import math

import pytest

import sqlrag
from sqlrag.errors import Error, InputError, LockedError
from tests.conftest import PASSAGES
from tests.spark.conftest import one_machine

pytestmark = pytest.mark.slow

QUESTIONS = ["how do bees tell each other where food is?", "money lent at a bank", "who inherits?"]
SCHEMA = "id BIGINT, body STRING, topic STRING, year INT"


@pytest.fixture(scope="module")
def rows():
    """Rows of the passages: key, text, topic, year."""
    read = [json.loads(line) for line in PASSAGES.read_text(encoding="utf-8").splitlines()]
    return [(100 + place, one["text"], one["topic"], one["year"]) for place, one in enumerate(read)]


@pytest.fixture(scope="module")
def built(spark, rows, tmp_path_factory):
    """An index of these rows in three shards."""
    from sqlrag.spark import build

    path = tmp_path_factory.mktemp("built") / "index"
    frame = spark.createDataFrame([*rows, (None, "without a key", "none", 1)], SCHEMA)
    change = build(frame, path, text="body", key="id", filters=["topic", "year"], shards=3)
    assert (change.version, change.added, change.without_key, change.shards) == (1, 25, 1, 3)
    return path


@pytest.fixture(scope="module")
def machine(rows, tmp_path_factory):
    """The same rows in one machine's database."""
    with one_machine(
        tmp_path_factory.mktemp("machine"), rows, "id INTEGER PRIMARY KEY, body TEXT, topic TEXT, year INTEGER",
        text="body", filters=["topic", "year"],
    ) as db:  # fmt: skip
        yield db


def of_machine(db, question, statement):
    """Return keys and numbers of one machine's hits; chunks have other ids there, so keys stand for them."""
    return [tuple(row) for row in db.execute(statement.format(key="c.source_id"), {"q": question})]


STATEMENTS = {
    "vector": (
        "SELECT c.source_id, hit.distance FROM vector_top_k('chunks', :q, 6) AS hit JOIN chunks AS c ON c.id = hit.id "
        "ORDER BY hit.distance, c.source_id"
    ),
    "text": (
        "SELECT c.source_id, hit.score FROM text_top_k('chunks', :q, 6) AS hit JOIN chunks AS c ON c.id = hit.id "
        "ORDER BY hit.score DESC, c.source_id"
    ),
    "search, filtered": (
        "SELECT source_id, text, score, distance, rank_before, rank_after, reranked "
        "FROM search('chunks', :q, 10, 5, 'year >= 2019 AND topic <> ''computing''') ORDER BY rank_after"
    ),
}


def assert_alike(left, right):
    assert len(left) == len(right) > 0
    for one, other in zip(left, right, strict=True):
        for a, b in zip(one, other, strict=True):
            assert math.isclose(a, b, abs_tol=1e-5) if isinstance(a, float) else a == b, (one, other)


@pytest.mark.parametrize("name", STATEMENTS)
def test_what_was_built_answers_as_one_machine(spark, built, machine, name):
    """Distances, BM25 scores and reranking are those of a single index."""
    from sqlrag.spark import register

    register(spark, built)
    for question in QUESTIONS:
        found = [tuple(row) for row in spark.sql(STATEMENTS[name], args={"q": question}).collect()]
        assert_alike(found, [tuple(row) for row in machine.execute(STATEMENTS[name], {"q": question})])


def test_many_questions_at_once(spark, built, machine):
    """The DataFrame call gives what search() gives for each; a NULL has no answers."""
    from sqlrag.spark import register, search

    register(spark, built)
    asked = [(1, QUESTIONS[0]), (2, QUESTIONS[1]), (3, None), (4, QUESTIONS[0])]
    found = search(
        spark, spark.createDataFrame(asked, "n INT, question STRING"), top_k=8, top_n=2, filter="year > 2000"
    )
    given = {}
    for row in found.orderBy("n", "rank_after").collect():
        given.setdefault(row.n, []).append((row.source_id, row.score, row.rank_before, row.rank_after))
    statement = "SELECT source_id, score, rank_before, rank_after FROM search('chunks', :q, 8, 2, 'year > 2000')"
    assert sorted(given) == [1, 2, 4]
    assert given[1] == given[4]
    for number, question in asked[:2]:
        assert_alike(given[number], [tuple(row) for row in machine.execute(statement, {"q": question})])


def test_append_sync_delete_compact(spark, rows, tmp_path):
    """After any of them the index is that of the rows, ids of unchanged chunks stay, and older readers see the old."""
    from sqlrag.spark import append, build, compact, delete, pull, register, sync, vacuum

    path = tmp_path / "index"

    def frame(some):
        return spark.createDataFrame(some, SCHEMA)

    def texts():
        return {row.source_id: row.text for row in spark.table("chunks").collect()}

    build(frame(rows[:15]), path, text="body", key="id", filters=["year"], shards=2)
    register(spark, path)
    ids = {row.source_id: row.id for row in spark.table("chunks").collect()}
    with pytest.raises(InputError, match="in the index already"):
        append(frame(rows[14:16]), path)
    assert append(frame(rows[15:20]), path).added == 5
    assert set(texts()) == {row[0] for row in rows[:15]}  # the session keeps its version
    changed = [(rows[0][0], "Ferrets sleep for most of the day.", "nature", 2024), *rows[2:22]]
    change = sync(frame(changed), path)
    assert (change.version, change.added, change.removed) == (3, 3, 2)
    again = sync(frame(changed), path)
    assert (again.added, again.removed) == (0, 0)
    gone = spark.createDataFrame([(rows[5][0],), (9999,)], "id BIGINT")
    assert delete(gone, path).removed == 1
    register(spark, path)
    expected = {row[0]: row[1] for row in changed if row[0] != rows[5][0]}
    assert texts() == expected
    assert {row.source_id: row.id for row in spark.table("chunks").collect()}[rows[3][0]] == ids[rows[3][0]]
    words = (
        "SELECT c.source_id, hit.score FROM text_top_k('chunks', 'the sun', 5) AS hit JOIN chunks AS c ON c.id = hit.id"
    )
    ordered = f"{words} ORDER BY hit.score DESC, c.source_id"
    with one_machine(
        tmp_path, [row for row in changed if row[0] in expected],
        "id INTEGER PRIMARY KEY, body TEXT, topic TEXT, year INTEGER", text="body",
    ) as db:  # fmt: skip
        alone = [tuple(row) for row in db.execute(ordered)]
    assert_alike([tuple(row) for row in spark.sql(ordered).collect()], alone)
    merged = compact(spark, path)
    assert merged.shards >= 1
    register(spark, path)
    assert texts() == expected
    assert_alike([tuple(row) for row in spark.sql(ordered).collect()], alone)
    (info,) = spark.sql("SELECT * FROM sqlrag_info()").collect()
    assert (info.documents, info.chunks) == (len(expected), len(expected))
    assert vacuum(path) == []  # nothing is a week old
    assert len(vacuum(path, hours=0)) > 4
    from sqlrag.spark.folder import Folder
    from sqlrag.spark.manifest import Manifest

    manifest = Manifest.read(Folder(path))
    pulled = pull(path, manifest.shards[0].number, tmp_path / "pulled.db")
    with sqlrag.connect(tmp_path / "pulled.db") as db:
        assert db.check() == []
        assert db.info()[0].chunks == pulled.chunks - pulled.gone_chunks


def test_rows_without_a_key_and_keys_that_repeat(spark, tmp_path):
    """Rows without a key are counted, also by append; a key that occurs twice is an error, in whichever shards."""
    from sqlrag.spark import append, build

    first = spark.createDataFrame([(1, "tea", "x", 1), (None, "no key", "y", 2)], SCHEMA)
    options = {"text": "body", "key": "id", "filters": ["topic"], "by": "topic", "shards": 2}
    assert build(first, tmp_path / "index", **options).without_key == 1
    more = spark.createDataFrame([(None, "no key", "y", 2), (2, "coffee", "y", 2)], SCHEMA)
    change = append(more, tmp_path / "index", shards=1)
    assert (change.added, change.without_key) == (1, 1)
    twice = spark.createDataFrame([(3, "milk", "x", 1), (3, "water", "z", 1)], SCHEMA)
    with pytest.raises(InputError, match="key 3 occurs twice: id must tell rows apart"):
        append(twice, tmp_path / "index", shards=8)


def test_two_writers(spark, rows, tmp_path, monkeypatch):
    """One wins; the other gets an error, and what it wrote is in no version."""
    from sqlrag.spark import append, build
    from sqlrag.spark.manifest import Manifest

    path = tmp_path / "index"
    build(spark.createDataFrame(rows[:4], SCHEMA), path, text="body", key="id", shards=1)
    read = Manifest.read
    first = append(spark.createDataFrame(rows[4:6], SCHEMA), path)
    monkeypatch.setattr(Manifest, "read", lambda folder, version=None: read(folder, version or 1))
    with pytest.raises(LockedError, match="another writer has made version 2 meanwhile"):
        append(spark.createDataFrame(rows[6:8], SCHEMA), path)
    monkeypatch.undo()
    from sqlrag.spark.folder import Folder

    assert Manifest.read(Folder(path)).version == first.version == 2


def test_a_build_goes_on(spark, rows, tmp_path, monkeypatch):
    """Shards that a stopped build has finished are taken as they are."""
    from sqlrag.spark import build
    from sqlrag.spark.manifest import Manifest

    path = tmp_path / "index"
    frame = spark.createDataFrame(rows, SCHEMA)
    monkeypatch.setattr(Manifest, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(frame, path, text="body", key="id", shards=3)
    monkeypatch.undo()
    finished = sorted((path / "shards").iterdir())
    finished[0].unlink()
    change = build(frame, path, text="body", key="id", shards=3)
    assert (change.resumed, change.shards, change.added) == (2, 1, 25)
    assert not list((path / "building").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "nothing"}, "nothing"),
        ({"key": "nothing"}, "df has no column 'nothing': it has id, body, topic, year"),
        ({"filters": ["nothing"]}, "df has no column 'nothing'"),
        ({"by": "topic"}, "by is 'topic': it is the key or one of the filters: none"),
        ({"shards": 0}, "shards is 0: it is a whole number from 1"),
        ({"embedder": "nobody/nothing"}, "nobody/nothing"),
        ({"tokenizer": "x"}, "tokenizer is 'x'"),
        ({"key": "topic"}, "occurs twice"),
    ],
)
def test_wrong_arguments(spark, rows, tmp_path, options, message):
    """Each is one clear error, and leaves no version behind."""
    from sqlrag.spark import build

    frame = spark.createDataFrame(rows[:6], SCHEMA)
    given = {"text": "body", "key": "id", "shards": 1} | options
    with pytest.raises(Exception, match=message) as caught:  # an error of a task comes in Spark's own
        build(frame, tmp_path / "index", **given)
    assert isinstance(caught.value, Error) or "sqlrag.errors" in str(caught.value)
    assert not (tmp_path / "index" / "manifests").exists()
