"""F16: numbers are numbers whichever type they have, and what cannot be taken is one error of sqlrag's own.

Every public function is given every odd type, and called after `close()`; a new one without an entry here fails.
"""

from __future__ import annotations

import array
import datetime as dt
import enum
import inspect
import math
import uuid
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import apsw
import numpy as np
import pytest

import sqlrag
from sqlrag.errors import DatabaseError, InputError
from sqlrag.results import Result
from sqlrag.text.documents import Document
from tests.conftest import database_path
from tests.sizes import LONG


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 2


class Seven:
    def __index__(self):
        return 7


class Word(str, enum.Enum):
    BEES = "bees"


ODD = {
    "np.int64": np.int64(3),
    "np.uint64": np.uint64(2**63),
    "np.float32": np.float32(1.5),
    "np.bool_": np.bool_(True),
    "np.str_": np.str_("x"),
    "an array": np.arange(3),
    "a matrix": np.ones((2, 2), np.float32),
    "NaN": math.nan,
    "infinity": math.inf,
    "Decimal": Decimal("1.5"),
    "Decimal NaN": Decimal("NaN"),
    "Decimal sNaN": Decimal("sNaN"),
    "Fraction": Fraction(1, 3),
    "date": dt.date(2026, 11, 30),
    "datetime": dt.datetime(2026, 11, 30, 12, tzinfo=dt.timezone.utc),
    "UUID": uuid.UUID(int=5),
    "Enum": Colour.RED,
    "IntEnum": Level.LOW,
    "StrEnum": Word.BEES,
    "True": True,
    "2**63": 2**63,
    "10**400": 10**400,
    "memoryview": memoryview(b"ab"),
    "bytearray": bytearray(b"ab"),
    "bytes": b"ab",
    "array.array": array.array("i", [1]),
    "list": [1, 2],
    "texts": ["a"],
    "dict": {"a": 1},
    "set": {1},
    "object": object(),
    "a class": int,
    "range": range(3),
    "a lone surrogate": "\ud800",
    "text": "hello",
    "an empty text": "",
    "a NUL": "a\0b",
    "-1": -1,
    "0": 0,
    "2.5": 2.5,
    "complex": 1j,
    "Path": Path("nowhere"),
    "None": None,
}

# What else each method is given; for `evaluate` as little work as there can be.
METHODS = {
    "alter_index": {"name": "reviews"},
    "backlog": {},
    "check": {},
    "close": {},
    "compare": {"query": "bees", "index": "chunks"},
    "context": {"question": "bees", "index": "chunks"},
    "confine": {},
    "create_index": {"name": "again", "table": "review", "text": "body"},
    "describe": {"sql": "SELECT 1"},
    "drop_index": {"name": "none"},
    "evaluate": {"synthetic": 2, "resamples": 5, "top_k": [2], "index": "chunks", "first_stages": ["vector"]},
    "execute": {"sql": "SELECT 1"},
    "indexes": {},
    "info": {},
    "ingest": {"sources": [Document("b", "", "Some text.", {}, "h2")]},
    "interrupt": {},
    "is_fresh": {},
    "reindex": {"name": "reviews"},
    "repair": {},
    "search": {"query": "bees", "index": "chunks"},
    "size": {},
    "sync": {"index": "reviews"},
}

OTHERS = {
    "connect": (sqlrag.connect, {"path": ":memory:"}),
    "register": (sqlrag.register, {}),
    "Embedder": (sqlrag.Embedder, {}),
    "Reranker": (sqlrag.Reranker, {}),
}

MODELS = {
    "Embedder": {
        "encode_query": {"text": "a"},
        "encode_document": {"text": "a"},
        "query_vector": {"text": "a"},
        "query_bytes": {"text": "a"},
        "document_bytes": {"texts": ["a"]},
        "made": {"vector": b""},
        "token_count": {"text": "a"},
        "token_counts": {"texts": ["a"]},
    },
    "Reranker": {
        "score": {"query": "a", "documents": ["b"]},
        "score_pairs": {"pairs": [("a", "b")]},
        "pair_scores": {"pairs": [("a", "b")]},
        "rank": {"query": "a", "documents": ["b"]},
        "score_until": {"query": "a", "documents": ["b"], "until": math.inf},
        "remembered": {"query": "a", "documents": ["b"]},
        "digest": {"query": "a", "text": "b"},
        "encode": {"texts": ["a"]},
        "recalled": {"digests": [b"1"]},
        "scored": {"pairs": {b"1": ("a", "b")}},
    },
}

NOT_ARGUMENTS = {"self", "progress", "until"}


def public_methods(kind):
    return {name: method for name, method in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"}


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name not in NOT_ARGUMENTS]


@pytest.fixture(scope="module", params=["sqlite", "duckdb"])
def db(request, tmp_path_factory):
    """One document, one row with an index."""
    with sqlrag.connect(database_path(tmp_path_factory.mktemp("odd"), request.param)) as db:
        db.ingest([Document("a", "t", "Bees dance.", {}, "h")])
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO review VALUES (1, 'It boils fast.')")
        db.create_index("reviews", table="review", text="body")
        yield db


def assert_own_errors(function, arguments, name, odd=ODD):
    """Whatever the argument is given, the function works or raises an error of ours, on a line that is short."""
    found = {kind: raised_by(lambda value=value: function(**arguments | {name: value})) for kind, value in odd.items()}
    others = {kind: repr(error) for kind, error in found.items() if error and not isinstance(error, sqlrag.Error)}
    assert others == {}
    assert [kind for kind, error in found.items() if error and len(str(error)) > 1_000] == []


def raised_by(call):
    try:
        call()
    except Exception as error:  # noqa: BLE001
        return error
    return None


def test_every_public_function_is_here():
    """A new one needs an entry."""
    assert set(METHODS) == set(public_methods(sqlrag.Database))
    assert set(OTHERS) == set(sqlrag.__all__) - {"BacklogWarning", "Comparison", "Context", "Database", "Error", "Hit"}
    for name, methods in MODELS.items():
        assert set(methods) == set(public_methods(getattr(sqlrag, name)))


def odd_for(engine, number):
    """Return the odd values for a parameter: all, but for DuckDB a third, which takes turns from one to the next.

    The methods check their arguments before an engine sees them. With SQLRAG_LONG both engines are given all.
    """
    kinds = list(ODD) if LONG or engine == "sqlite" else list(ODD)[number % 3 :: 3]
    return {kind: ODD[kind] for kind in kinds}


METHOD_PARAMETERS = [
    (name, parameter) for name, method in public_methods(sqlrag.Database).items() for parameter in parameters(method)
]


@pytest.mark.sized
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "parameter"), METHOD_PARAMETERS)
def test_f16_a_method_of_a_database_is_given_an_odd_type(db, name, parameter, tmp_path, monkeypatch):
    """On both engines; the database is as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    odd = odd_for(db.engine, METHOD_PARAMETERS.index((name, parameter)))
    assert_own_errors(getattr(db, name), METHODS[name], parameter, odd)
    if "again" in db.indexes():
        db.drop_index("again")
    assert db.check() == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OTHERS)
def test_f16_the_other_functions_are_given_an_odd_type(name, tmp_path, monkeypatch):
    """`connect`, `register` and the models."""
    monkeypatch.chdir(tmp_path)
    function, arguments = OTHERS[name]

    def call(**given):
        if name == "register":
            given = {"connection": apsw.Connection(":memory:")} | given
        made = function(**given)
        if name == "connect":
            made.close()

    for parameter in parameters(function):
        assert_own_errors(call, arguments, parameter)


@pytest.mark.parametrize("kind", MODELS)
def test_f16_the_models_are_given_an_odd_type(kind):
    """Each method of the embedder and of the reranker."""
    model = getattr(sqlrag, kind)()
    for name, arguments in MODELS[kind].items():
        for parameter in parameters(getattr(type(model), name)):
            assert_own_errors(getattr(model, name), arguments, parameter)


NUMBERS = {
    "np.int64": (np.int64(5), 5),
    "np.uint8": (np.uint8(5), 5),
    "np.float32": (np.float32(1.5), 1.5),
    "np.float64": (np.float64(2.5), 2.5),
    "np.bool_": (np.bool_(True), 1),
    "np.longdouble": (np.longdouble(2.5), 2.5),
    "an array without dimensions": (np.array(7), 7),
    "anything with __index__": (Seven(), 7),
    "np.str_": (np.str_("x"), "x"),
    "IntEnum": (Level.LOW, 2),
    "StrEnum": (Word.BEES, "bees"),
    "Decimal": (Decimal("1.5"), 1.5),
    "a whole Decimal": (Decimal(10), 10),
    "bytearray": (bytearray(b"ab"), b"ab"),
    "memoryview": (memoryview(b"ab"), b"ab"),
    "-2**63": (-(2**63), -(2**63)),
}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("named", [True, False])
def test_f16_a_number_is_stored_as_a_number(db, kind, named):
    """apsw takes an np.int64 for the eight bytes that it consists of."""
    given, expected = NUMBERS[kind]
    db.execute("CREATE TEMP TABLE IF NOT EXISTS kept (x)" if db.engine == "sqlite" else "SELECT 1")
    sql = "SELECT :x" if named else "SELECT ?"
    ((value,),) = db.execute(sql, {"x": given, "unused": object()} if named else [given]).fetchall()
    assert value == expected
    assert isinstance(value, bytes) == isinstance(expected, bytes)


REFUSED = {
    "date": (ODD["date"], "isoformat"),
    "datetime": (ODD["datetime"], "isoformat"),
    "UUID": (ODD["UUID"], r"str\(value\)"),
    "Enum": (Colour.RED, r"value\.value"),
    "2**63": (2**63, "64 bits"),
    "a Decimal of many digits": (Decimal("12345678901234567.891"), r"float\(\) or str\(\)"),
    "Decimal NaN": (Decimal("NaN"), "no exact decimals"),
    "list": ([1], r"json\.dumps"),
    "float64": (np.ones(3), "float32"),
    "object": (object(), "a number, a text or bytes"),
    "a lone surrogate": ("a\ud800", "lone surrogate"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_f16_what_sqlite_cannot_store_is_named_with_a_remedy(kind, fresh):
    """By the parameter's name or number; DuckDB has types of its own for most of them."""
    value, remedy = REFUSED[kind]
    if fresh.engine == "duckdb" and kind not in ("Enum", "object", "a lone surrogate"):
        assert len(fresh.execute("SELECT ?", [value]).fetchall()) == 1
        return
    with pytest.raises(InputError, match=rf"parameter :when .*{remedy}"):
        fresh.execute("SELECT :when", {"when": value})
    with pytest.raises(InputError, match=rf"parameter number 2 .*{remedy}"):
        fresh.execute("SELECT ?, ?", [1, value])
    with pytest.raises(InputError, match="parameter :when"):
        fresh.describe("SELECT :when AS x", {"when": value})


def test_f16_a_vector_of_numpy_s_is_a_vector(passages):
    """float32, as sqlite-vec has it."""
    vector = passages.embedder.encode_query("bees")
    sql = "SELECT id FROM vector_top_k('chunks', :v, 3)"
    assert passages.execute(sql, {"v": vector}).fetchall() == passages.execute(sql.replace(":v", "'bees'")).fetchall()


def test_f16_numbers_of_any_type_are_counts(passages):
    """Where a whole number is asked for, numpy's is one."""
    expected = passages.search("bees", top_k=5, top_n=2)
    for kind in (np.int64, np.uint8, np.int32):
        assert passages.search("bees", top_k=kind(5), top_n=kind(2), budget_ms=np.float32(3_600_000)) == expected
    assert passages.search("bees", top_k=5, top_n=Level.LOW, budget_ms=Decimal(3_600_000)) == expected
    for wrong in (True, np.bool_(True), 2.0, Decimal(2), "2", 0, -1, 2**63, math.nan):
        with pytest.raises(InputError, match="top_n is"):
            passages.search("bees", top_k=5, top_n=wrong)
    for wrong in (True, math.nan, math.inf, Decimal("NaN"), -1, "1"):
        with pytest.raises(InputError, match="budget_ms is"):
            passages.search("bees", budget_ms=wrong)


@pytest.mark.parametrize("params", [5, "q", b"q", {1}, 2.5, object()])
def test_f16_params_are_a_mapping_or_a_sequence(db, params):
    """A text is one value, not several."""
    with pytest.raises(InputError, match="params is"):
        db.execute("SELECT ?", params)


def test_f16_every_method_after_close(engine, passage_files, tmp_path):
    """One error says that the database is closed; closing again does nothing."""
    db = sqlrag.connect(database_path(tmp_path, engine))
    half_read = db.execute("SELECT 1 UNION ALL SELECT 2")
    db.close()
    for name, method in public_methods(sqlrag.Database).items():
        if name != "close":
            with pytest.raises(DatabaseError, match="this database is closed"):
                method(db, **METHODS[name])
    for read in (half_read.fetchone, half_read.fetchall, half_read.arrow, lambda: next(iter(half_read))):
        with pytest.raises(DatabaseError, match="this database is closed"):
            read()
    half_read.close()
    db.close()
    assert (db.path, db.engine, db.read_only) == (str(database_path(tmp_path, engine)), engine, False)


def test_f16_fetchmany(passages):
    """A number of rows, of any type."""
    rows = passages.execute("SELECT id FROM chunks ORDER BY id")
    assert isinstance(rows, Result)
    assert len(rows.fetchmany(np.int64(2))) == 2
    with pytest.raises(InputError, match="size is"):
        rows.fetchmany(2.5)


def test_arrow_after_a_row_was_read(passages):
    """The rows that are left, those that the engine has given already too."""
    rows = passages.execute("SELECT id FROM chunks ORDER BY id")
    assert rows.fetchone() == (1,)
    assert rows.arrow().column("id").to_pylist() == list(range(2, 26))
