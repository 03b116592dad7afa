"""Full text and its fusion with vectors on both engines: a tokenizer for each index, weights for each query."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sqlrag
from sqlrag import errors
from sqlrag.store.full_text import TOKENIZERS
from sqlrag.text.documents import Document
from tests.conftest import ENGINES, database_path
from tests.engine.databases import assert_says, change_tables, copy_of
from tests.sizes import examples

TEXTS = {
    "bees": "A honeybee dances to tell the others where food is.",
    "sailors": "The sailors sailed on in the storm.",
    "tokyo": "明日の東京の天気は晴れです。",
    "zurich": "Die Straßenbahn in Zürich fährt alle sieben Minuten.",
    "codec": "The handler surrogateescape decodes what is no UTF-8.",
}
DOCUMENTS = [Document(uri, uri, text, {}, f"hash of {uri}") for uri, text in TEXTS.items()]
QUESTION = "how do people in towns lend money, bake bread and find food in old times?"


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory):
    """A database on each engine, with an index for each tokenizer, named after it."""
    paths = {}
    for engine in ENGINES:
        paths[engine] = database_path(tmp_path_factory.mktemp(engine), engine, "tokenized")
        with sqlrag.connect(paths[engine]) as db:
            for tokenizer in TOKENIZERS:
                db.ingest(DOCUMENTS, f"by_{tokenizer}", tokenizer=tokenizer)
    return paths


@pytest.fixture(scope="module")
def opened(tokenized):
    """The same, open for reading."""
    databases = {engine: sqlrag.connect(path, read_only=True) for engine, path in tokenized.items()}
    yield databases
    for db in databases.values():
        db.close()


def found(db: sqlrag.Database, tokenizer: str, query: str | None, function: str = "text_top_k") -> list[str]:
    """Return the titles that an index finds, best first."""
    index = f"by_{tokenizer}"
    sql = (
        f"SELECT d.title FROM {function}('{index}', :q, 5) AS hit JOIN {index} AS c ON c.id = hit.id "
        "JOIN documents AS d ON d.id = c.source_id ORDER BY hit.rank"
    )
    return [title for (title,) in db.execute(sql, {"q": query})]


FINDS = {
    "a word": ("food", {"porter": ["bees"], "unicode61": ["bees"], "trigram": ["bees"]}),
    "a stem": ("sailing", {"porter": ["sailors"], "unicode61": [], "trigram": []}),
    "part of a word": ("escape", {"porter": [], "unicode61": [], "trigram": ["codec"]}),
    "part of a sentence without spaces": ("東京の天気", {name: ["tokyo"] for name in TOKENIZERS}),
    "no accent": ("zurich", {"porter": ["zurich"], "unicode61": ["zurich"], "trigram": ["zurich"]}),
    "a question": ("what does the storm do to it?", {name: ["sailors"] for name in TOKENIZERS}),
    "two letters": ("no", {"porter": ["codec"], "unicode61": ["codec"], "trigram": []}),
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("name", FINDS)
def test_each_tokenizer_finds_what_it_should(opened, engine, tokenizer, name):
    """Stems, parts of words, languages without spaces: the same on both engines."""
    query, expected = FINDS[name]
    assert found(opened[engine], tokenizer, query) == expected[tokenizer]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_null_finds_nothing(opened, engine, tokenizer):
    """NULL is no rows, whatever the tokenizer."""
    for function in ("text_top_k", "hybrid_top_k"):
        assert found(opened[engine], tokenizer, None, function) == []


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(query=st.text(st.characters(codec="utf-8"), max_size=40))
@pytest.mark.sized
@settings(max_examples=examples(20, 60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_safe_query(opened, engine, tokenizer, query):
    """Whatever is typed gives rows or none, never an error; the vectors always find something."""
    assert set(found(opened[engine], tokenizer, query)) <= set(TEXTS)
    assert len(found(opened[engine], tokenizer, query, "hybrid_top_k")) == len(TEXTS)


def test_info_names_the_tokenizer(opened, engine):
    """sqlrag_info() and info() say what the full text was made with."""
    rows = opened[engine].execute('SELECT "index", tokenizer FROM sqlrag_info() ORDER BY 1').fetchall()
    assert rows == [(f"by_{name}", name) for name in sorted(TOKENIZERS)]
    assert {one.tokenizer for one in opened[engine].info()} == set(TOKENIZERS)


def test_the_default_tokenizer(fresh):
    """Nothing said, a new index has porter; the same said again is no error."""
    fresh.ingest(DOCUMENTS)
    assert fresh.info()[0].tokenizer == "porter"
    assert fresh.ingest(DOCUMENTS, tokenizer="porter").unchanged == len(DOCUMENTS)
    assert fresh.check() == []


@pytest.mark.parametrize("tokenizer", ["icu", "", 7])
def test_a_tokenizer_that_there_is_not(fresh, tokenizer):
    """The error names those that there are, and no index is begun."""
    with pytest.raises(errors.Error) as raised:
        fresh.ingest(DOCUMENTS, tokenizer=tokenizer)
    assert_says(raised.value, errors.InputError, f"tokenizer is {tokenizer!r}", "'porter', 'unicode61', 'trigram'")
    assert fresh.indexes() == []


def test_another_tokenizer_than_the_index_s(tokenized, engine, tmp_path):
    """An index keeps the one that it was made with."""
    with sqlrag.connect(copy_of(tokenized[engine], tmp_path)) as db, pytest.raises(errors.Error) as raised:
        db.ingest(DOCUMENTS, "by_trigram", tokenizer="porter")
    words = ("tokenizer is porter", "'by_trigram' was made with trigram", "leave it out")
    assert_says(raised.value, errors.InputError, *words)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_what_changes_is_found(tokenized, engine, tmp_path, tokenizer):
    """A document that is replaced or removed leaves no words behind; check() finds all sound."""
    with sqlrag.connect(copy_of(tokenized[engine], tmp_path)) as db:
        changed = [Document("bees", "bees", "Wasps do not dance.", {}, "another hash"), *DOCUMENTS[1:4]]
        report = db.ingest(changed, f"by_{tokenizer}", prune=True)
        assert (report.changed, report.removed) == (1, 1)
        assert found(db, tokenizer, "honeybee surrogateescape") == []
        assert found(db, tokenizer, "wasps") == ["bees"]
        assert db.check() == []


def test_a_lost_index_file_is_made_with_its_tokenizers(tokenized, tmp_path):
    """DuckDB's tables record the tokenizer, so the index file comes back with it; so it does if that changes."""
    path = copy_of(tokenized["duckdb"], tmp_path)
    path.with_name(f"{path.name}.sqlrag").unlink()
    with sqlrag.connect(path) as db:
        assert found(db, "trigram", "escape") == ["codec"]
        assert db.check() == []
    change_tables(path, "UPDATE sqlrag_indexes SET tokenizer = 'trigram', version = version + 1")
    with sqlrag.connect(path) as db:
        assert found(db, "porter", "escape") == ["codec"]


# Weights


def hybrid(db: sqlrag.Database, weight: float | None, k: int = 25) -> list[tuple]:
    sql = f"SELECT id, score, rank FROM hybrid_top_k('chunks', :q, {k}, NULL, :w)"
    return db.execute(sql, {"q": QUESTION, "w": weight}).fetchall()


def ids(db: sqlrag.Database, function: str) -> list[int]:
    return [id_ for (id_,) in db.execute(f"SELECT id FROM {function}('chunks', :q, 25)", {"q": QUESTION})]


def test_the_ends_are_the_lists_alone(passages):
    """At 1 the order is that of the vectors, at 0 that of the words, and only what they find."""
    assert [row[0] for row in hybrid(passages, 1)] == ids(passages, "vector_top_k")
    words = ids(passages, "text_top_k")
    assert [row[0] for row in hybrid(passages, 0)] == words
    assert 0 < len(words) < 25


@pytest.mark.parametrize("weight", [None, 0.1, 0.5, 0.8])
def test_a_score_is_what_the_formula_says(passages, weight):
    """2 * weight / (60 + rank) of each list; without a weight 1 / (60 + rank), the paper's."""
    vectors = {id_: rank for rank, id_ in enumerate(ids(passages, "vector_top_k"), start=1)}
    words = {id_: rank for rank, id_ in enumerate(ids(passages, "text_top_k"), start=1)}
    share = 0.5 if weight is None else weight
    rows = hybrid(passages, weight)
    assert {row[0] for row in rows} == vectors.keys() | words.keys()
    for id_, score, _ in rows:
        expected = 2 * share / (60 + vectors[id_]) if id_ in vectors else 0.0
        expected += 2 * (1 - share) / (60 + words[id_]) if id_ in words else 0.0
        assert score == pytest.approx(expected, abs=1e-12)
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)


def test_a_weight_by_name(passages):
    """Without a filter the weight can be named, as each engine names arguments."""
    named = {
        "sqlite": "hybrid_top_k('chunks', :q, 9) WHERE vector_weight = 0.2",
        "duckdb": "hybrid_top_k('chunks', :q, 9, vector_weight := 0.2)",
    }
    sql = f"SELECT id, score, rank FROM {named[passages.engine]}"
    assert passages.execute(sql, {"q": QUESTION}).fetchall() == hybrid(passages, 0.2, 9)


def test_weights_move_the_order(passages):
    """What the two lists disagree about comes out differently."""
    assert len({tuple(row[0] for row in hybrid(passages, weight)) for weight in (0.1, 0.5, 0.9)}) > 1


def test_search_orders_by_both_stages(passages):
    """Each score by its range, the first stage's with its weight; at 0 the reranker decides alone."""
    first = {row[0]: row[1] for row in passages.execute("SELECT * FROM hybrid_top_k('chunks', $q, 9)", {"q": QUESTION})}
    for weight in (0, 0.3, 1):
        hits = passages.search(QUESTION, top_k=9, top_n=9, first_stage_weight=weight)
        assert first.keys() == {hit.id for hit in hits}
        scores = [hit.score for hit in hits]
        spread = [max(values) - min(values) for values in (scores, first.values())]
        order = [hit.score / spread[0] + weight * first[hit.id] / spread[1] for hit in hits]
        assert order == sorted(order, reverse=True)
        assert [hit.rank_before for hit in sorted(hits, key=lambda hit: -first[hit.id])] == list(range(1, 10))
    assert passages.compare(QUESTION, top_k=9, first_stage_weight=1).candidates == hits
    near = passages.execute("SELECT id FROM vector_top_k('chunks', $q, 9)", {"q": QUESTION}).fetchall()
    vectors_alone = passages.search(QUESTION, top_k=9, top_n=9, vector_weight=1)
    assert [hit.id for hit in sorted(vectors_alone, key=lambda hit: hit.rank_before)] == [id_ for (id_,) in near]
    with pytest.raises(errors.InputError, match="first_stage_weight is 2: it takes a number from 0 to 1"):
        passages.search(QUESTION, first_stage_weight=2)
