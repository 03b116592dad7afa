"""What clients get from the server: what they would get from models of their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import sqlrag
from sqlrag.engines.functions import INFO_COLUMNS, SEARCH_COLUMNS
from sqlrag.errors import FilterError, InputError, RerankLimitError, UnknownIndexError
from tests.serve.clients import client_of

QUESTION = "why do volcanoes erupt?"
CALLS = [
    ("embed", (QUESTION,)),
    ("embed", (None,)),
    ("embed_document", (QUESTION, "all-MiniLM-L6-v2")),
    ("token_count", ("Ünïcödé 🌋",)),
    ("rerank_score", (QUESTION, "Magma rises.")),
    ("vector_top_k", ("chunks", QUESTION, 5)),
    ("vector_top_k", ("chunks", QUESTION, 5, "id % 2 = 0", 7)),
    ("vector_top_k", ("chunks", QUESTION, 5, "length(title) > 2 OR title IS NULL")),
    ("text_top_k", ("chunks", "volcano magma", 5)),
    ("hybrid_top_k", ("chunks", QUESTION, 5, None, 0.3)),
    ("search", ("chunks", QUESTION)),
    ("search", ("chunks", QUESTION, 10, 4, "uri LIKE '%1%'")),
    ("search", ("chunks", QUESTION, 10, 4, None, 0)),
    ("chunk_text", ("One. Two. Three. " * 40, 16, 4)),
    ("sqlrag_info", ()),
    ("search", ("chunks", None)),
]


def alone(database, function, arguments):
    """Return what a process with models of its own gets."""
    with sqlrag.connect(database, read_only=True) as db:
        places = ", ".join("?" * len(arguments))
        scalar = function in ("embed", "embed_document", "token_count", "rerank_score")
        sql = f"SELECT {'' if scalar else '* FROM '}{function}({places})"
        return db.execute(sql, arguments).fetchall()


@pytest.mark.parametrize(("function", "arguments"), CALLS, ids=lambda value: str(value)[:40])
def test_each_function_answers_as_in_process(client, database, function, arguments):
    """The same rows, to the last bit."""
    client.begin()
    assert client.call(function, *arguments) == alone(database, function, arguments)


@pytest.mark.parametrize(
    ("function", "arguments", "error", "said"),
    [
        ("search", ("nope", "q"), UnknownIndexError, "there is 'chunks'"),
        ("search", ("chunks", "q", 0), InputError, "top_k is 0"),
        ("search", ("chunks", "q", 5, 3, "nocolumn = 1"), FilterError, "no such column: nocolumn"),
        ("search", ("chunks", "q", 5, 3, "id IN (SELECT 1)"), FilterError, "SELECT has no place in it"),
        ("search", ("chunks",), InputError, "needs 2 at least"),
        ("chunk_text", ("a " * 2_000_001,), InputError, "4,000,000 at most"),
        ("embed", (3,), InputError, "text is 3"),
        ("embed", ("a", "b", "c"), InputError, "got 3 arguments"),
        ("drop_table", (), InputError, "no function 'drop_table'"),
    ],
)
def test_errors_are_those_of_the_function(client, function, arguments, error, said):
    """Their class and their words; the connection goes on."""
    with pytest.raises(error, match=said):
        client.call(function, *arguments)
    assert client.call("token_count", "a") == [(1,)]


def test_what_the_server_declares(client):
    """`functions` says what a client needs to declare them."""
    declared = {name: row for name, *row in client.call("functions")}
    assert declared["embed"] == ["scalar", "", "text,model", 1]
    assert declared["search"][1] == ",".join(SEARCH_COLUMNS)
    assert declared["sqlrag_info"] == ["table", ",".join(INFO_COLUMNS), "", 0]


def test_the_candidates_of_a_statement_are_scored_together(client):
    """And a new statement has none of them: the pairs that may be scored are counted anew."""
    assert len(client.call("search", "chunks", "where do bees live?", 20, 3)) == 3


def test_the_limit_of_pairs_is_the_clients_own(server, database):
    """One with a small limit is stopped, whatever others may."""
    with client_of(server, database, rerank_limit=3) as client:
        with pytest.raises(RerankLimitError, match="rerank_limit = 3"):
            client.call("search", "chunks", "a question that nobody asked before", 20, 3)
        client.begin()
        assert client.call("rerank_score", "a question that is asked", "of one") != [(None,)]


def test_two_clients_at_once_get_what_each_alone_gets(server, database):
    """No answer goes to another client, whatever runs beside it."""
    questions = [f"{word} {number}" for number in range(12) for word in ("volcano", "bees", "money", "moon")]
    with client_of(server, database) as one:
        expected = {q: one.call("search", "chunks", q, 5, 2) for q in questions}

    def asks(some):
        with client_of(server, database) as client:
            return [(q, client.call("search", "chunks", q, 5, 2)) for q in some]

    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(asks, (questions, questions[::-1], questions[::2], questions[1::2])):
            assert all(expected[q] == found for q, found in answers)


def test_two_databases_are_not_confused(server, database, tmp_path):
    """Each client's statements run on its own database."""
    other = tmp_path / "other.db"
    with sqlrag.connect(other) as db:
        (tmp_path / "only.txt").write_text("Penguins cannot fly.")
        db.ingest(tmp_path / "only.txt")
    with client_of(server, database) as one, client_of(server, other) as two:
        for _ in range(3):
            assert two.call("search", "chunks", QUESTION)[0][1] == "Penguins cannot fly."
            assert len(one.call("search", "chunks", QUESTION)) == 3


def test_a_database_without_an_index(server, tmp_path):
    """Texts are embedded; an index is not found."""
    empty = tmp_path / "empty.db"
    sqlrag.connect(empty).close()
    empty.touch()
    with client_of(server, empty) as client:
        assert client.call("token_count", "two words") == [(2,)]
        with pytest.raises(UnknownIndexError, match="this database has none"):
            client.call("search", "chunks", "q")
