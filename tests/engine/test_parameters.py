"""`:name` parameters on DuckDB, which writes them `$name`."""

from __future__ import annotations

import pytest

from sqlrag.duckdb.parameters import bind_named
from sqlrag.errors import InputError


@pytest.mark.parametrize(
    ("sql", "bound"),
    [
        ("SELECT :q", "SELECT $q"),
        ("SELECT $q", "SELECT $q"),
        ("SELECT f(:q,:q)", "SELECT f($q,$q)"),
        ("SELECT a FROM t WHERE b>:q", "SELECT a FROM t WHERE b>$q"),
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


def test_a_missing_value_is_named(passages):
    """A parameter that no value was given for is one clear error on both engines."""
    with pytest.raises(InputError, match="parameter 'q' that no value was given for"):
        passages.execute("SELECT :q, :other", {"other": 1})
