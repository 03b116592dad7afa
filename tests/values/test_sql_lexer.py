"""SQL cut into lexemes and statements, compared with what the engines themselves make of a text."""

from __future__ import annotations

import re

import apsw
import duckdb
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sqlrag.engines.duckdb.parameters import DIALECT
from sqlrag.engines.duckdb.statement_depth import check_shape
from sqlrag.errors import FilterError, SQLError
from sqlrag.store.filters import check_filter
from sqlrag.values.sql_lexer import BLANK, DUCKDB, SQLITE, Splitter, lexemes, split

QUOTES = ["'", "''", '"', "`", "E'", "e'", "x'", "b'", "N'", "\\", "\\'", "$$", "$a$", "$é$", "$b", "[", "]"]
OTHERS = ["--", "\n", "\r", " ", "\t", "\v", "/*", "*/", "/", "*", "-", ";", ":", "::", ":=", "(", ")", "{", "}", "?",
          ".", "=", "@", "#", "a", "b1", "_", "1", "1.5", "1_0", "é", "😀", "\x01", "select", "E", "$1"]  # fmt: skip
TEXTS = st.lists(st.sampled_from(QUOTES + OTHERS), max_size=12).map("".join)

ANY = st.one_of(TEXTS, st.text())
WORDS = st.sampled_from(
    ["SELECT 1", "';'", '";"', "[;]", "`;`", "-- ;\n", "/* ; */", "/* /* ; */", ";", " ", "CREATE TRIGGER t BEGIN",
     "create temp trigger", "EXPLAIN CREATE TRIGGER t", "END", "end;", "$$;$$", "x", "/*", "'", "CREATE", "TABLE"]
)  # fmt: skip
SCRIPTS = st.lists(WORDS, max_size=10).map(" ".join)


@given(ANY)
@pytest.mark.parametrize("dialect", [SQLITE, DUCKDB])
def test_the_lexemes_are_the_text(dialect, text):
    """Nothing is lost or added; each begins where the one before it ends."""
    found = list(lexemes(text, dialect))
    assert "".join(one.text for one in found) == text
    assert [one.start for one in found] == [0, *(one.end for one in found)][: len(found)]


def _duckdbs(sql: str) -> dict[int, str]:
    """Return the kind of each text, comment and name that DuckDB finds, by its index."""
    kinds = {
        duckdb.token_type.string_const: "string",
        duckdb.token_type.comment: "comment",
        duckdb.token_type.identifier: "name",
        duckdb.token_type.keyword: "name",
    }
    encoded = sql.encode()
    return {len(encoded[:at].decode()): kinds[kind] for at, kind in duckdb.tokenize(sql) if kind in kinds}


def _ours(sql: str) -> dict[int, str]:
    found = {}
    for one in lexemes(sql, DIALECT):
        if one.kind == "unclosed":
            found[one.start] = {"/": "comment", '"': "name", "`": "name"}.get(one.text[0], "string")
        elif one.kind == "parameter" and not one.text[1].isdigit():
            found[one.start + 1] = "name"
        elif one.kind in ("string", "comment", "name", "word"):
            found[one.start] = "name" if one.kind == "word" else one.kind
    return found


@pytest.mark.skipif(duckdb.__version__ < "2", reason="DuckDB 1.5 does not tell where comments are")
@given(TEXTS)
def test_texts_comments_and_names_are_where_duckdb_finds_them(text):
    """DuckDB's own tokenizer is the judge; of numbers and operators it makes other pieces, in which nothing hides."""
    assume(not re.search(r"\$(--|/\*)|[0-9.]e\.", text, re.IGNORECASE))  # it misplaces these by a character
    sql = f"{text} ;"
    assert _ours(sql) == _duckdbs(sql)


COLUMNS = [":a", "@b", "$c", "':d'", '1 AS ":e"', "1 AS [:f]", "1 AS `@g`", "x'00' -- :h\n", "2 /* /* :i */",
           "3 AS é$j", "':k'':l'", ":m+1", "abs(:é)", "'\\' || :n", ":o_1"]  # fmt: skip


@given(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=6))
def test_parameters_are_those_that_sqlite_finds(columns):
    """SQLite names the parameters of a statement that it has compiled."""
    sql = f"SELECT {', '.join(columns)}"
    theirs: set[str] = set()
    cursor = apsw.Connection(":memory:").cursor()
    cursor.exec_trace = lambda cursor, _sql, _bindings: bool(theirs.update(cursor.bindings_names))
    with pytest.raises(apsw.ExecTraceAbort):
        cursor.execute(sql, dict.fromkeys(["a", "b", "c", "m", "é", "n", "o_1"], 1))
    assert {one.text[1:] for one in lexemes(sql, SQLITE) if one.kind == "parameter"} == theirs


@given(SCRIPTS)
def test_a_text_is_complete_where_sqlite_says_so(script):
    """sqlite3_complete() knows strings, comments and triggers, and nothing is left then."""
    splitter = Splitter(SQLITE)
    assume(any(one.kind not in BLANK for one in lexemes(script, SQLITE)))
    splitter.feed(script)
    assert apsw.complete(script) != splitter.is_open


@given(SCRIPTS, st.integers(1, 5))
@pytest.mark.parametrize("dialect", [SQLITE, DUCKDB])
def test_a_script_that_comes_piece_by_piece(dialect, script, size):
    """The statements are the same as in one piece."""
    splitter = Splitter(dialect)
    pieces = [script[at : at + size] for at in range(0, len(script), size)]
    found = [one for piece in pieces for one in splitter.feed(piece)]
    assert [one for one in [*found, splitter.rest()] if one] == split(script, dialect)


@given(st.lists(st.sampled_from(["SELECT 1", "SELECT ';'", "SELECT $$;$$", "SELECT E'\\';'", "SELECT /* ; */ 2"])))
def test_statements_are_those_that_duckdb_finds(statements):
    """DuckDB splits a script at the same semicolons."""
    script = ";".join(statements)
    theirs = [one.query.strip().removesuffix(";") for one in duckdb.extract_statements(script)]
    assert [one.removesuffix(";") for one in split(script, DUCKDB)] == theirs


LONG = ["(", ")", "[", "'", "''", '"', "`", "\\", "E'\\", "$", "$a", "$a$", "$a$ $b$", "/*", "*/", "--\n", "1.", "1e",
        "1_0", ";", ":q ", "::", "a.", "x ", "é", "\u00a0", "WITH a AS (", "CREATE TRIGGER ", ";END;",
        "CAST(", "- "]  # fmt: skip


@pytest.mark.parametrize("piece", LONG)
def test_a_long_text(piece):
    """Of anything: it is read to its end, and no check passes it."""
    text = (piece * 20_000)[:20_000]
    for dialect in (SQLITE, DUCKDB):
        assert sum(len(one.text) for one in lexemes(text, dialect)) == 20_000
        split(text, dialect)
    with pytest.raises(FilterError):
        check_filter(f"({text}")
    with pytest.raises(SQLError):
        check_shape(text * 13)


@pytest.mark.parametrize("piece", ["'", "''", "E'\\", "/*", "$a$", "$aé", "-", "1_0", "é"])
def test_a_text_of_megabytes(piece):
    """What is searched for an end is searched once: the square of such a length would never end."""
    text = piece * 200_000
    for dialect in (SQLITE, DUCKDB):
        assert sum(len(one.text) for one in lexemes(f"{text} ", dialect)) == len(text) + 1


@pytest.mark.parametrize(
    "hiding",
    ["SELECT `'`{deep}`'`", "SELECT 1 -- \r{deep}", "SELECT \x01E'\\'{deep} '", "SELECT a$${deep}$$",
     "SELECT 1e1e1E'\\' {deep} '", "SELECT x\u00a0E'\\' {deep} '", "SELECT /* /* */ */{deep}", "SELECT E'\\''{deep}",
     "SELECT $a$ $b$ $a${deep}", "SELECT '\\'{deep}", "SELECT 1{unions}"],
)  # fmt: skip
def test_depth_does_not_hide(hiding):
    """Brackets and UNION count wherever DuckDB would see them, and nowhere else."""
    if duckdb.__version__ < "2" and ("`" in hiding or "\x01" in hiding or "1e1" in hiding):
        pytest.skip("DuckDB 1.5 reads it otherwise")
    with pytest.raises(SQLError):
        check_shape(hiding.format(deep="(" * 101, unions="UNION SELECT 1" * 501))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '{deep}'",
        'SELECT 1 AS "{deep}"',
        "SELECT 1, $${deep}$$, E'\\'{deep}'",
        "SELECT 1 /* {deep} */ -- {deep}",
    ],
)
def test_what_is_quoted_has_no_depth(sql):
    """Texts, names and comments may hold anything, after any kind of space."""
    check_shape(sql.format(deep="(" * 101).replace(" ", "\u00a0", 1))
