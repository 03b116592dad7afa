"""The models of a server, as sqlrag's own commands use them: what comes back, and when their own models answer."""

from __future__ import annotations

import math
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import apsw
import pytest

import sqlrag
from sqlrag.engines.options import ConnectionOptions
from sqlrag.errors import BacklogWarning, InputError, ModelMismatchError, RerankLimitError, SQLError, UnknownModelError
from sqlrag.models import Embedder, Reranker
from sqlrag.serve.model_server import remote_models, served_database
from sqlrag.serve.model_server.client import Client
from sqlrag.serve.model_server.protocol import LONGEST_TEXT
from sqlrag.serve.model_server.remote_models import RemoteEncoders, ServerModels
from sqlrag.serve.model_server.served_database import connect_served

TEXTS = ["Magma rises.", "Bees dance 🐝.", "", "Banks lend money. " * 200]


@pytest.fixture
def asked(server):
    """A client without a database."""
    client = Client(server, "test")
    yield client
    client.close()


@pytest.fixture
def models(asked):
    """The server's models."""
    return ServerModels(asked)


@pytest.fixture
def served(server, database, monkeypatch):
    """The database, opened as the commands open it."""
    monkeypatch.setenv("SQLRAG_SOCKET", str(server))
    with connect_served(str(database)) as db:
        yield db


def test_vectors_and_scores_are_those_of_this_process(models, monkeypatch):
    """To the last bit, in several calls too, and as the arrays that Python's callers get."""
    monkeypatch.setattr(remote_models, "_PIECE", 3)
    encoders = RemoteEncoders(models, None)
    own, reranker = Embedder(), Reranker()
    assert encoders.embedder.query_bytes("why?") == own.query_bytes("why?")
    assert encoders.embedder.document_bytes(TEXTS) == own.document_bytes(TEXTS)
    assert encoders.embedder.encode_document(TEXTS).tobytes() == own.encode_document(TEXTS).tobytes()
    assert encoders.embedder.encode_query(TEXTS[0]).tobytes() == own.encode_query(TEXTS[0]).tobytes()
    assert encoders.embedder.encode_document([]).shape == (0, own.dimension)
    pairs = [(query, text) for query in ("why?", "who dances?") for text in TEXTS]
    assert encoders.reranker.pair_scores(pairs) == reranker.pair_scores(pairs)
    assert encoders.reranker.score("how?", TEXTS).tobytes() == reranker.score("how?", TEXTS).tobytes()
    assert models.is_connected


def test_threads_do_not_get_each_others_vectors(models):
    """A connection to the server has one call at a time, however many threads use its models."""
    encoders, own = RemoteEncoders(models, None), Embedder()
    questions = [f"question {number}" for number in range(24)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(encoders.embedder.query_bytes, questions))
    assert found == [own.query_bytes(question) for question in questions]


def test_a_budget_ends_the_scoring(models, monkeypatch):
    """The first pair is scored at any rate; those that were not begun have no score, and are scored later."""
    monkeypatch.setattr(remote_models, "_PIECE", 3)
    reranker = RemoteEncoders(models, None).reranker
    pairs = [(f"a question of {time.monotonic()}", f"text {number}") for number in range(8)]
    found = reranker.pair_scores(pairs, time.monotonic() - 1)
    assert found[0] == Reranker().pair_scores(pairs)[0]
    assert all(map(math.isnan, found[1:]))
    assert not any(map(math.isnan, reranker.pair_scores(pairs)))


def test_a_model_that_the_server_does_not_have(models, asked):
    """Its name with other weights, or another name: the server says so, and a model of this process is to answer."""
    encoders = RemoteEncoders(models, None)
    for function, spec, argument in (
        ("model_embed", encoders.embedder.spec, "query"),
        ("model_score", encoders.reranker.spec, None),
    ):
        with pytest.raises(UnknownModelError, match=r"the model server has .*@.*, not .*@000000000000"):
            asked.call(function, spec.name, "0" * 64, argument)
        with pytest.raises(UnknownModelError, match="there is no model 'none-such'"):
            asked.call(function, "none-such", spec.weights_hash, argument)
    assert models.vectors(replace(encoders.embedder.spec, weights_hash="0" * 64), "query", ["a"]) is None
    assert models.scores(replace(encoders.reranker.spec, name="none-such"), [("a", "b")], None, {}) is None
    assert models.is_connected


@pytest.mark.parametrize(
    ("function", "arguments", "said"),
    [
        ("model_embed", (), "takes the name of a model"),
        ("model_embed", ("all-MiniLM-L6-v2", 5, "query"), "takes the name of a model"),
        ("model_embed", ("all-MiniLM-L6-v2", "h"), "role is None"),
        ("model_embed", ("all-MiniLM-L6-v2", "", "query", 5), "takes texts"),
        ("model_score", ("reranker-v1", "h", "soon"), "seconds is 'soon'"),
        ("model_score", ("reranker-v1", "h", None, "alone"), "pairs of query and text: got 1"),
    ],
)
def test_arguments_of_other_types(models, asked, function, arguments, said):
    """Are errors of the call, and the connection goes on."""
    hash_ = RemoteEncoders(models, None).embedder.spec.weights_hash
    with pytest.raises(InputError, match=said):
        asked.call(function, *[hash_ if one == "" else one for one in arguments])
    assert asked.status()["version"] == sqlrag.__version__


def test_they_are_no_sql_functions(asked):
    """A client that declares what the server has declares none of them."""
    assert not [name for name, *_ in asked.call("functions") if str(name).startswith("model_")]


def test_a_text_that_the_server_does_not_take(models):
    """Is embedded by a model of this process, and the server is asked again for the next."""
    encoders = RemoteEncoders(models, None)
    long = "word " * (LONGEST_TEXT // 5 + 1)
    assert encoders.embedder.query_bytes(long) == Embedder().query_bytes("word " * 2_000)
    assert models.is_connected


def test_the_limit_of_pairs(server, database, monkeypatch):
    """Is counted here, as in every connection."""
    monkeypatch.setenv("SQLRAG_SOCKET", str(server))
    monkeypatch.setattr(served_database, "ConnectionOptions", partial(ConnectionOptions, rerank_limit=30))
    sql = "SELECT rerank_score(q, text) FROM chunks, (SELECT 'who?' AS q UNION SELECT 'why?')"
    with connect_served(str(database)) as db, pytest.raises(RerankLimitError, match="rerank_limit = 30"):
        db.execute(sql).fetchall()


def test_an_index_of_other_weights(server, database, tmp_path, monkeypatch):
    """The error is the one that `connect` gives, whatever the server has."""
    monkeypatch.setenv("SQLRAG_SOCKET", str(server))
    copy = tmp_path / "copy.db"
    copy.write_bytes(database.read_bytes())
    connection = apsw.Connection(str(copy))
    connection.execute(
        "UPDATE sqlrag_indexes SET embedder_hash = replace(embedder_hash, substr(embedder_hash, 1, 4), 'ffff')"
    )
    connection.close()
    said = []
    for opened in (connect_served(str(copy)), sqlrag.connect(copy, read_only=True)):
        with opened as db, pytest.raises(ModelMismatchError) as error:
            db.search("bees")
        said.append(str(error.value))
    assert said[0] == said[1]


def test_rows_that_changed_are_warned_of(server, tmp_path, monkeypatch):
    """As in every read-only connection."""
    monkeypatch.setenv("SQLRAG_SOCKET", str(server))
    path = tmp_path / "notes.db"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO note VALUES (1, 'Bees dance.')")
        db.create_index("notes", table="note", text="body")
        db.sync()
        db.execute("INSERT INTO note VALUES (2, 'Magma rises.')")
    with connect_served(str(path)) as db, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(db.search("magma", "notes")) == 1
        assert [one.category for one in caught] == [BacklogWarning]
    with connect_served(str(path), read_only=False) as db:
        assert len(db.search("magma", "notes")) == 2
        assert db._engine.encoders.models.is_connected


def test_an_interrupted_statement_raises_what_it_does_without_a_server(served):
    """SQLError, of the statement; the next one is answered."""
    sql = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
        "SELECT sum(rerank_score('q' || i, text)) FROM n, chunks"
    )
    timer = threading.Timer(0.5, served.interrupt)
    timer.start()
    with pytest.raises(SQLError, match="interrupt"):
        served.execute(sql).fetchall()
    timer.join()
    assert served.execute("SELECT length(embed('a'))").fetchall() == [(1536,)]
    assert served._engine.encoders.models.is_connected
