"""`:name` parameters on DuckDB, which writes them `$name`."""

from __future__ import annotations

import random
import sys
import types
from http import HTTPStatus

import duckdb
import pytest

from sqlrag.engines.duckdb.parameters import bind_named
from sqlrag.errors import InputError
from sqlrag.values import bindings


@pytest.mark.parametrize(
    ("sql", "bound"),
    [
        ("SELECT :q", "SELECT $q"),
        ("SELECT $q", "SELECT $q"),
        ("SELECT f(:q,:q)", "SELECT f($q,$q)"),
        ("SELECT a FROM t WHERE b>:q", "SELECT a FROM t WHERE b>$q"),
        ("  SELECT 'ü' || :q || 1", "  SELECT 'ü' || $q || 1"),
        ("SELECT 1 LIMIT:q", "SELECT 1 LIMIT $q"),
        ("SELECT a FROM t GROUP BY :q", "SELECT a FROM t GROUP BY $q"),
        ("SELECT :q::INTEGER", "SELECT $q::INTEGER"),
        ("SELECT [:q], [1, :q], x[:q + 1 : :q]", "SELECT [$q], [1, $q], x[:q + 1 : $q]"),
        ("SELECT {'a': :q, b: :q}, MAP {:q: :q}", "SELECT {'a': $q, b: $q}, MAP {$q: $q}"),
        ("SELECT $x$ :q $x$ || :q || E'\\' :q'", "SELECT $x$ :q $x$ || $q || E'\\' :q'"),
    ],
)
def test_names_become_duckdbs(sql, bound):
    """Each :name becomes $name, wherever a value may stand."""
    assert bind_named(sql, {"q": 1, "unused": 2}) == (bound, {"q": 1})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ':q', \":q\"",
        "SELECT 1 -- :q\n",
        "SELECT /* :q */ 1",
        "SELECT x::q",
        "SELECT x[1:q]",
        "SELECT {'a':q}, {a: q}",
        "SELECT $$ :q $$, $tag$ :q $tag$",
        "SELECT 'it''s :q'",
    ],
)
def test_what_only_looks_like_a_parameter_stays(sql):
    """Texts, quoted names, comments, casts, slices and structs are left alone."""
    assert bind_named(sql, {"q": 1}) == (sql, {})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT s[:q], s[1 :q], s[year:q], s[(1) :q], [1, 2][:q], 'text'[:q], f(s)[:q]",
        "SELECT E'\\' :q', e'\\\\\\' :q'",
        "SELECT /* /* nested */ :q */ 1",
        "SELECT {'a' :q, text:q, \"b\" :q}",
        "SELECT text:q, total :q FROM t",
        "SELECT list_transform(x, lambda y:q + y)",
        "SELECT 1 -- é :q",
    ],
)
def test_d6_what_only_looks_like_a_parameter_to_duckdb_stays(sql):
    """D6: an open slice, an E'' string, a nested comment, a struct's name, a lambda and an alias before its value."""
    assert bind_named(sql, {"q": 1}) == (sql, {})


@pytest.mark.parametrize("engine", ["duckdb"])
def test_d6_the_values_are_duckdbs_own(passages):
    """D6: what is left alone runs, and says what DuckDB alone says."""
    sql = "SELECT s[:n], s[2:n], s[: :n], E'\\':n', {'n':n}, $$:n$$, [:n] FROM (SELECT 'abcd' AS s, 3 AS n)"
    expected = ("abc", "bc", "ab", "':n", {"n": 3}, ":n", [2])
    assert passages.execute(sql, {"n": 2}).fetchall() == [expected]


_PIECES = {
    "value": [
        "{v}",
        "a",
        "'é :v'",
        "E'\\' :v'",
        "$$ :v $$",
        "year",
        "({value})",
        "{value} + {value}",
        "[{value}, {value}]",
        "s[{slice}]",
        "'abc'[{slice}]",
        "[{value}][{slice}]",
        "{{'k': {value}, text: {value}}}",
        "MAP {{{value} : {value}}}",
        "CASE WHEN {value} THEN {value} ELSE {value} END",
        "{value}::INTEGER",
        "{value} IN ({value}, {value})",
        "list_transform({value}, lambda x: x + {value})",
        "/* :v /* :v */ */ {value}",
        "{value} -- :v\n",
    ],
    "slice": [":{end}", "{end}:{end}", "{end}:", "{end}: {v}", ": {v}", "({value})"],
    "end": ["a", "year", "1", "(1 + {v})", "f({v})", "'x'"],
}


def _made(kind: str, rng: random.Random, depth: int) -> str:
    pieces = _PIECES[kind]
    piece = rng.choice(pieces if depth > 0 else pieces[: 3 if kind == "value" else 1])
    parts = piece.replace("{{", "\0").replace("}}", "\1")
    for name in ("value", "slice", "end", "v"):
        while f"{{{name}}}" in parts:
            text = f"\2{rng.choice('pqr')}" if name == "v" else _made(name, rng, depth - 1)
            parts = parts.replace(f"{{{name}}}", text, 1)
    return parts.replace("\0", "{").replace("\1", "}")


def test_d6_made_up_statements():
    """D6: of a thousand statements from DuckDB's grammar exactly the parameters become DuckDB's, which parses them."""
    rng, parsed = random.Random(6), 0
    for _ in range(1_000):
        made = f"SELECT {_made('value', rng, 4)} FROM t WHERE {_made('value', rng, 3)}"
        theirs = made.replace("\2", "$")
        try:
            (statement,) = duckdb.extract_statements(theirs)
        except duckdb.ParserException:
            continue
        parsed += 1
        names = dict.fromkeys("pqr", 1)
        bound, values = bind_named(made.replace("\2", ":"), names)
        assert (bound, set(values)) == (theirs, statement.named_parameters)
    assert parsed > 750


def test_a_missing_value_is_named(passages):
    """A parameter that no value was given for is one clear error on both engines."""
    with pytest.raises(InputError, match="parameter 'q' that no value was given for"):
        passages.execute("SELECT :q, :other", {"other": 1})


def test_f16_a_value_while_a_thread_imports_numpy(monkeypatch):
    """A module that has only begun to be imported has no classes yet: the values of other classes are as ever."""
    monkeypatch.setitem(sys.modules, "numpy", types.ModuleType("numpy"))
    assert bindings._plain(1) == 1
    assert bindings._plain(HTTPStatus.OK) == 200
    assert bindings._vector("text") is None
