"""F19: a filter takes values, which never become a part of the SQL: in Python, in SQL and on the command line."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pytest

import sqlrag
from sqlrag.errors import FilterError, InputError
from sqlrag.text.documents import Document
from tests.conftest import database_path

CALLS = {
    "vector_top_k": "SELECT id FROM vector_top_k('chunks', 'bees and money', 9, {filter}, NULL, {params}) ORDER BY id",
    "text_top_k": "SELECT id FROM text_top_k('chunks', 'the of and', 9, {filter}, {params}) ORDER BY id",
    "hybrid_top_k": "SELECT id FROM hybrid_top_k('chunks', 'bees', 9, {filter}, NULL, {params}) ORDER BY id",
    "search": "SELECT id FROM search('chunks', 'bees', 9, 9, {filter}, NULL, {params}) ORDER BY id",
}

# Each with the same filter written out.
FILTERS = {
    "a text": ("title = :t", {"t": "Bees"}, "title = 'Bees'"),
    "several": ("title IN (:a, :b) AND id < :most", {"a": "Bees", "b": "Zürich 🚋", "most": 100}, None),
    "a number": ("id > :id", {"id": 12}, "id > 12"),
    "a fraction": ("id > :id", {"id": 12.5}, "id > 12"),
    "NULL": ("(title = :t) IS NULL", {"t": None}, "1 = 1"),
    "a value that would be SQL": ("title = :t", {"t": "x' OR '1' = '1"}, "1 = 0"),
    "the names of our own parameters": (
        "id IN (:k, :depth, :ids, :near, :matching, :wanted, :filter, :vector)",
        {"k": 1, "depth": 2, "ids": 3, "near": 4, "matching": 5, "wanted": 6, "filter": 7, "vector": 8},
        "id <= 8",
    ),
    "no parameter": ("id > 12", {"unused": "x"}, "id > 12"),
    "a colon in a text": ("title <> ':t' AND id > :id", {"id": 12}, "id > 12"),
}


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("name", CALLS)
def test_f19_a_filter_with_values_in_sql(passages, name, kind):
    """As another, last argument: a JSON object, itself a parameter or a literal."""
    expression, values, plain = FILTERS[kind]
    plain = plain or "title IN ('Bees', 'Zürich 🚋')"
    expected = passages.execute(CALLS[name].format(filter=":f", params="NULL"), {"f": plain}).fetchall()
    sql, text = CALLS[name].format(filter=":f", params=":p"), json.dumps(values)
    assert passages.execute(sql, {"f": expression, "p": text}).fetchall() == expected
    literal = CALLS[name].format(filter=":f", params="'" + text.replace("'", "''") + "'")
    assert passages.execute(literal, {"f": expression}).fetchall() == expected


@pytest.mark.parametrize("vectors", ["float32", "int8"])
def test_f19_a_filter_with_values_in_a_search_of_codes(engine, vectors, tmp_path):
    """Whether few pass, which are compared at once, or many, of which the codes choose."""
    with sqlrag.connect(database_path(tmp_path, engine), candidates=9) as db:
        texts = [f"Text number {n} is about {'bees' if n % 2 else 'money'}." for n in range(60)]
        db.ingest([Document(f"d{n}", "", text, {}, f"h{n}") for n, text in enumerate(texts)], vectors=vectors)
        for sql in CALLS.values():
            for most in (3, 20, 60):
                given = db.execute(sql.format(filter="'id <= :k'", params=":p"), {"p": json.dumps({"k": most})})
                plain = db.execute(sql.format(filter=f"'id <= {most}'", params="NULL"))
                assert given.fetchall() == plain.fetchall()


def test_f19_a_filter_with_values_in_python(passages):
    """`search` and `compare`; numbers of numpy's are numbers."""
    plain = passages.search("bees", filter="title = 'Bees' AND id < 100")
    params = {"t": "Bees", "most": np.int64(100)}
    assert passages.search("bees", filter="title = :t AND id < :most", params=params) == plain
    compared = passages.compare("bees", filter="title = :t", params={"t": "Bees"})
    assert [hit.id for hit in compared.candidates] == [hit.id for hit in plain]
    assert passages.search("bees", filter="(metadata ->> 'topic') = :topic", params={"topic": "no such"}) == []


def test_f19_a_live_index(fresh):
    """Over the columns of the user's own table."""
    fresh.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, lang TEXT, body TEXT)")
    fresh.execute("INSERT INTO review VALUES (1, 'en', 'It boils.'), (2, 'de', 'Es kocht.'), (3, 'O''Hara', 'Hm.')")
    fresh.create_index("reviews", table="review", text="body", filters=["lang"])
    for number, lang in enumerate(("en", "de", "O'Hara"), start=1):
        hits = fresh.search("it boils", "reviews", filter="lang = :lang", params={"lang": lang})
        assert [hit.source_id for hit in hits] == [number]


def test_f19_a_parameter_without_a_value(passages):
    """It is named, with how to give one; no value of ours takes its place."""
    for params in (None, {"other": 1}):
        for name in ("lang", "k", "vector", "matching"):
            with pytest.raises(
                FilterError, match=rf"no value was given for its parameter '{name}': give it with params"
            ):
                passages.search("bees", filter=f"title = :{name}", params=params)


WRONG = {
    "a list": ({"t": [1]}, "json.dumps"),
    "a date": ({"t": dt.date(2026, 1, 1)}, "isoformat"),
    "bytes": ({"t": b"x"}, "a filter takes texts"),
    "NaN": ({"t": float("nan")}, "a filter takes texts"),
    "a Decimal of many digits": ({"t": Decimal("12345678901234567.891")}, "a filter takes no exact decimals"),
    "too large": ({"t": 2**63}, "64 bits"),
    "a lone surrogate": ({"t": "\ud800"}, "lone surrogate"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_f19_a_value_that_a_filter_cannot_have(passages, kind):
    """It is named, with what to write instead."""
    params, remedy = WRONG[kind]
    with pytest.raises(InputError, match=rf"parameter :t .*{remedy}") as raised:
        passages.search("bees", filter="title = :t", params=params)
    assert "SQLite" not in str(raised.value)  # a filter takes the same values on both engines


@pytest.mark.parametrize("params", ["[1]", "1", "no JSON", "{", '{"a": {}}', '{"a": [1]}', ""])
def test_f19_params_that_are_no_json_object(passages, params):
    """The error says what it takes."""
    with pytest.raises(InputError, match=r"filter_params .*it takes a JSON object"):
        passages.execute("SELECT * FROM text_top_k('chunks', 'bees', 3, 'id > :a', :p)", {"p": params}).fetchall()


@pytest.mark.parametrize("params", [5, ["a"], {1: "a"}, "{}"])
def test_f19_params_in_python_are_a_mapping(passages, params):
    """Of names."""
    with pytest.raises(InputError, match="params is"):
        passages.search("bees", filter="id > 1", params=params)


def test_f19_params_without_a_filter(passages):
    """There is nothing that they could be for."""
    with pytest.raises(InputError, match="there is no filter"):
        passages.search("bees", params={"t": "Bees"})


def test_f19_where_the_engines_differ(passages):
    """As docs/search.md says, with what is the same on both."""
    sqlite = passages.engine == "sqlite"

    def matches(expression):
        return bool(passages.search("bees", filter=f"title = 'Bees' AND {expression}"))

    assert matches("title LIKE 'bees'") == sqlite
    assert matches("lower(title) LIKE 'bees'")
    assert matches("7 / 2 = 3") == sqlite
    assert matches("7 / 2.0 = 3.5")
    ((year,),) = passages.execute("SELECT metadata ->> 'year' FROM documents WHERE title = 'Bees'").fetchall()
    assert isinstance(year, int) == sqlite
    assert matches(f"CAST((metadata ->> 'year') AS INTEGER) = {year}")
