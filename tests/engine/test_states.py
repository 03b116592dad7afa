"""What a reranker keeps of chunks: written with the vectors, read by search() and statements, changing no score."""

from __future__ import annotations

import pytest

import sqlrag
from sqlrag import errors
from sqlrag.models.reading import OnnxReader
from sqlrag.serve.model_server.served_functions import ModelFunctions
from sqlrag.store.states import KeptStates
from sqlrag.text.documents import Document
from tests.conftest import PASSAGES, database_path
from tests.engine.databases import change_tables, copy_of
from tests.models.tiny_reader import make_tiny_reader

pytestmark = pytest.mark.torch
pytest.importorskip("onnx", reason="the torch extra is not installed: pip install 'sqlrag[torch]'")

Q = "how do bees tell each other where food is?"
SCALAR = (
    "SELECT chunk.id, rerank_score($q, chunk.context || chunk.text) AS score "
    "FROM hybrid_top_k('chunks', $q, 25) AS hit JOIN chunks AS chunk ON chunk.id = hit.id ORDER BY chunk.id"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_reader(tmp_path_factory.mktemp("models") / "tiny-reader")


@pytest.fixture
def encoded(monkeypatch):
    """The texts that rerankers have encoded."""
    found: list[str] = []
    encode = OnnxReader._encoded

    def noting(reader, texts, until):
        found.extend(texts)
        return encode(reader, texts, until)

    monkeypatch.setattr(OnnxReader, "_encoded", noting)
    return found


@pytest.fixture
def connect(engine, folder, tmp_path):
    """Opens a database with a reranker that has scored nothing yet; the first one has the passages in it."""
    path = database_path(tmp_path, engine)
    with sqlrag.connect(path, reranker=sqlrag.Reranker(folder)) as db:
        db.ingest(PASSAGES)
    return lambda reranker=None: sqlrag.connect(path, reranker=reranker or sqlrag.Reranker(folder))


def scores(db):
    return [(hit.id, hit.score) for hit in db.search(Q, top_k=25, top_n=25)]


def test_nothing_is_encoded_that_is_kept_and_the_scores_are_the_same(connect, encoded):
    with connect() as db:
        assert db.info()[0].states > 25 * 198
        assert db.check() == []
        kept, by_statement = scores(db), db.execute(SCALAR, {"q": "why do bees dance?"}).fetchall()
        assert encoded == []
        assert len({score for _, score in kept}) == 25
        assert db.execute("SELECT rerank_score('bees', 'nobody''s chunk')").fetchone()[0] is not None
        assert encoded == ["nobody's chunk"]
        db.reindex(states="none", states_only=True)
        assert db.info()[0].states is None
    with connect() as db:
        assert scores(db) == kept
        assert db.execute(SCALAR, {"q": "why do bees dance?"}).fetchall() == by_statement
        assert len(encoded) > 25
        db.ingest([Document("new", "", "What is new has no states.", {}, "hash")])
        assert db.info()[0].states is None
        assert db.reindex(states="compact", states_only=True).unchanged == 26
        assert db.reindex(states_only=True).unchanged == 0
        db.reindex(max_tokens=50)
        assert db.check() == []
        assert db.info()[0].states > 26 * 198


@pytest.mark.slow
def test_an_index_that_has_none_is_reranked_and_gets_them(engine, passage_files, folder, encoded, tmp_path):
    """One that was made with a reranker of texts; a run that was stopped is continued."""
    path = copy_of(passage_files[engine], tmp_path)
    with sqlrag.connect(path, reranker=sqlrag.Reranker(folder)) as db:
        before = scores(db)
        assert db.info()[0].states is None
        assert db.reindex(states_only=True).unchanged == 25
    change_tables(
        path if engine == "sqlite" else path.with_name(f"{path.name}.sqlrag"),
        *["DELETE FROM chunks_states WHERE id > 9"],
    )
    with sqlrag.connect(path, reranker=sqlrag.Reranker(folder)) as db:
        assert db.check() == ["chunks: of 16 chunks no states are kept: sqlrag reindex --states-only keeps them"]
        db.repair()
        encoded.clear()
        assert (scores(db), encoded, db.check()) == (before, [], [])


@pytest.mark.slow
def test_another_reranker_reads_nothing_of_the_first_one(connect, encoded, tmp_path):
    """It encodes, and then keeps its own."""
    other = make_tiny_reader(tmp_path / "other-reader", seed=1)
    with connect(sqlrag.Reranker(other)) as db:
        before = scores(db)
        assert len(encoded) == 25
        assert db.reindex(states_only=True).unchanged == 25
    encoded.clear()
    with connect(sqlrag.Reranker(other)) as db:
        assert (scores(db), encoded) == (before, [])


@pytest.mark.slow
def test_a_file_with_other_states_changes_no_score_elsewhere(connect, folder, tmp_path):
    """Scores are remembered for the process, and a file may come from a stranger."""
    reranker = sqlrag.Reranker(folder)
    with connect(reranker) as db:
        text = db.execute("SELECT context || text FROM chunks WHERE id = 1").fetchone()[0]
        (true, false) = reranker.encode([text, "another text"])[1]
    assert reranker.pair_scores([(Q, text)], kept={text: false}) != reranker.pair_scores([(Q, text)])
    assert reranker.pair_scores([(Q, text)], kept={text: true}) == reranker.pair_scores([(Q, text)])
    answer = ModelFunctions(str(folder)).answer
    arguments = (reranker.name, reranker.spec.identity, None, Q, text)
    assert answer("model_score", (*arguments, true)) == answer("model_score", arguments)
    assert answer("model_score", (*arguments, false)) != answer("model_score", arguments)


@pytest.mark.slow
def test_rows_of_a_table(engine, folder, tmp_path):
    """What changes gets other states, and what is deleted leaves none behind."""
    with sqlrag.connect(database_path(tmp_path, engine), reranker=sqlrag.Reranker(folder)) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO note VALUES (1, 'Bees dance.'), (2, 'It rains.'), (3, 'Tea is steeped.')")
        db.create_index("notes", "note", "body")
        db.execute("UPDATE note SET body = 'Bees dance to tell where food is.' WHERE id = 1")
        db.execute("DELETE FROM note WHERE id = 2")
        db.sync()
        assert db.check() == []
        with db._engine.states(db._record("notes")) as states:
            assert isinstance(states, KeptStates)
            assert states.left() == []
        db.drop_index("notes")
        db.create_index("notes", "note", "body", states="none")
        assert db.info()[0].states is None


def test_a_reranker_of_texts_keeps_nothing(engine, passage_files, tmp_path):
    with sqlrag.connect(copy_of(passage_files[engine], tmp_path)) as db:
        for call in (
            lambda: db.reindex(states_only=True),
            lambda: db.ingest(PASSAGES, states="compact"),
            lambda: db.ingest(PASSAGES, states="all"),
            lambda: db.reindex(states_only=True, max_tokens=50),
            lambda: db.reindex(states_only=True, codes_only=True),
            lambda: db.reranker.encode(["text"]),
        ):
            with pytest.raises(errors.InputError, match="states"):
                call()
        assert db.ingest(PASSAGES, states="none").unchanged == 25
