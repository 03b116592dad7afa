"""Bad input: one clear error each, which names the argument, its value and the way out; nothing is lost by it."""

from __future__ import annotations

import contextlib
import struct
import time

import duckdb
import pytest

import sqlrag
from sqlrag import errors
from sqlrag.engines.duckdb.error_translation import translated
from tests.engine.databases import assert_says

NAN = [float("nan")] * 384
INFINITE = [float("inf")] + [0.0] * 383


def vector(numbers: list[float], engine: str) -> object:
    """Return a query vector as the engine takes it."""
    return struct.pack(f"{len(numbers)}f", *numbers) if engine == "sqlite" else numbers


@contextlib.contextmanager
def opened(passage_files, **options):
    """The passages on each engine, open for reading; an error leaves them as they are, so that many tests ask them."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(sqlrag.connect(path, read_only=True, **options))
            for name, path in passage_files.items()
        }


@pytest.fixture(scope="module")
def limited(passage_files):
    """The passages, of which a statement may score five pairs."""
    with opened(passage_files, rerank_limit=5) as both:
        yield both


@pytest.fixture(scope="module")
def unlimited(passage_files):
    """The passages."""
    with opened(passage_files) as both:
        yield both


@pytest.fixture
def passages(engine, unlimited):
    """The passages on one engine."""
    return unlimited[engine]


# Statements: (SQL, parameters, kind of error, words)

STATEMENTS = {
    "no such index": (
        "SELECT * FROM vector_top_k('nope', 'x', 3)",
        None,
        errors.UnknownIndexError,
        ["no index 'nope'", "there is 'chunks'"],
    ),
    "no such index, search": (
        "SELECT * FROM search('nope', 'x')",
        None,
        errors.UnknownIndexError,
        ["no index 'nope'", "there is 'chunks'"],
    ),
    "an index that is NULL": (
        "SELECT * FROM text_top_k(NULL, 'x', 3)",
        None,
        errors.UnknownIndexError,
        ["no index None"],
    ),
    "an index that is a number": (
        "SELECT * FROM hybrid_top_k(7, 'x', 3)",
        None,
        errors.UnknownIndexError,
        ["no index 7"],
    ),
    "an index of hostile name": (
        "SELECT * FROM vector_top_k(:i, 'x', 3)",
        {"i": 'chunks"; DROP TABLE chunks; --'},
        errors.UnknownIndexError,
        ["no index"],
    ),
    "no such embedder": (
        "SELECT embed('x', 'nope')",
        None,
        errors.UnknownModelError,
        ["model is 'nope'", "'all-MiniLM-L6-v2'", "embedder="],
    ),
    "a path as embedder": (
        "SELECT embed('x', '/etc')",
        None,
        errors.UnknownModelError,
        ["model is '/etc'", "'all-MiniLM-L6-v2'"],
    ),
    "a reranker as embedder": (
        "SELECT embed('x', 'reranker-v1')",
        None,
        errors.UnknownModelError,
        ["model is 'reranker-v1'"],
    ),
    "no such reranker": (
        "SELECT rerank_score('x', 'y', 'nope')",
        None,
        errors.UnknownModelError,
        ["model is 'nope'", "'reranker-v1'", "reranker="],
    ),
    "a model that is a number": ("SELECT embed('x', 7)", None, errors.InputError, ["model is 7", "name of a model"]),
    "embed a number": ("SELECT embed(7)", None, errors.InputError, ["embed(): text is 7", "CAST(text AS TEXT)"]),
    "count tokens of a number": ("SELECT token_count(7)", None, errors.InputError, ["token_count(): text is 7"]),
    "rerank a number": ("SELECT rerank_score(7, 'a')", None, errors.InputError, ["rerank_score(): query is 7"]),
    "rerank with a number": ("SELECT rerank_score('a', 7)", None, errors.InputError, ["rerank_score(): text is 7"]),
    "a query that is a number": (
        "SELECT * FROM vector_top_k('chunks', 7, 3)",
        None,
        errors.InputError,
        ["query is 7", "a text, or a vector"],
    ),
    "words that are a number": (
        "SELECT * FROM text_top_k('chunks', 7, 3)",
        None,
        errors.InputError,
        ["text_top_k(): query is 7", "a text"],
    ),
    "a weight above 1": (
        "SELECT * FROM hybrid_top_k('chunks', 'x', 3, NULL, 1.5)",
        None,
        errors.InputError,
        ["hybrid_top_k(): vector_weight is", "1.5", "a number from 0 to 1"],
    ),
    "a weight below 0": (
        "SELECT * FROM hybrid_top_k('chunks', 'x', 3, NULL, -1)",
        None,
        errors.InputError,
        ["vector_weight is -1", "a number from 0 to 1"],
    ),
    "a weight that is a text": (
        "SELECT * FROM hybrid_top_k('chunks', 'x', 3, NULL, '0.5')",
        None,
        errors.InputError,
        ["vector_weight is '0.5'", "a number from 0 to 1"],
    ),
    "a filter in the place of a weight": (
        "SELECT * FROM hybrid_top_k('chunks', NULL, 3, NULL, 'id > 1')",
        None,
        errors.InputError,
        ["vector_weight is 'id > 1'"],
    ),
    "top_n above top_k": (
        "SELECT * FROM search('chunks', 'x', 2, 5)",
        None,
        errors.InputError,
        ["top_n is 5, more than top_k = 2", "raise top_k"],
    ),
    "top_n of 0": (
        "SELECT * FROM search('chunks', 'x', 5, 0)",
        None,
        errors.InputError,
        ["top_n is 0", "whole number from 1"],
    ),
    "chunks of 0 tokens": (
        "SELECT * FROM chunk_text('x', 0)",
        None,
        errors.InputError,
        ["max_tokens is 0", "at least 1"],
    ),
    "a chunk by its text": (
        "SELECT * FROM chunk('chunks', 'a')",
        None,
        errors.InputError,
        ["chunk()", "chunk_id is 'a'"],
    ),
    "a chunk of no index": ("SELECT * FROM chunk('nope', 1)", None, errors.UnknownIndexError, ["there is 'chunks'"]),
    "chunks of half a token": ("SELECT * FROM chunk_text('x', 'a')", None, errors.InputError, ["max_tokens is 'a'"]),
    "overlap above the size": (
        "SELECT * FROM chunk_text('x', 10, 10)",
        None,
        errors.InputError,
        ["overlap is 10", "max_tokens 10"],
    ),
    "too many pairs": (
        "SELECT rerank_score('q', text) FROM chunks",
        None,
        errors.RerankLimitError,
        ["rerank_limit = 5", "raise rerank_limit", "top-k function"],
    ),
    "too many pairs in search": (
        "SELECT * FROM search('chunks', 'q')",
        None,
        errors.RerankLimitError,
        ["rerank_limit = 5"],
    ),
    "a parameter without a value": (
        "SELECT * FROM vector_top_k('chunks', :q, 3)",
        {"z": 1},
        errors.InputError,
        ["parameter 'q'", "no value was given"],
    ),
    "too few values": (
        "SELECT * FROM vector_top_k('chunks', ?, ?)",
        ["x"],
        errors.InputError,
        ["parameters do not fit the statement"],
    ),
    "too many values": ("SELECT ?", ["x", "y"], errors.InputError, ["parameters do not fit the statement"]),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_that_is_wrong(engine, limited, name):
    """The function's own error comes out of execute(), from inside a DuckDB function too; the next statement works."""
    sql, params, kind, words = STATEMENTS[name]
    db = limited[engine]
    with pytest.raises(errors.Error) as raised:
        db.execute(sql, params).fetchall()
    assert_says(raised.value, kind, *words)
    assert db.execute("SELECT count(*) FROM vector_top_k('chunks', 'bees', 3)").fetchall() == [(3,)]


@pytest.mark.parametrize("function", ["vector_top_k", "text_top_k", "hybrid_top_k", "search"])
@pytest.mark.parametrize("k", ["0", "-1", "2.5", "'abc'", "1e+300"])
def test_k_that_is_no_number_of_rows(passages, function, k):
    """Zero, negative, broken or huge: the error names function, argument and value."""
    with pytest.raises(errors.Error) as raised:
        passages.execute(f"SELECT * FROM {function}('chunks', 'x', {k})").fetchall()
    argument = "top_k" if function == "search" else "k"
    assert_says(raised.value, errors.InputError, f"{function}(): {argument} is", "it takes a whole number from 1")
    assert k.strip("'") in str(raised.value)


@pytest.mark.parametrize("function", ["vector_top_k", "text_top_k", "hybrid_top_k", "search"])
def test_k_that_is_too_large(passages, function):
    """A whole number above the greatest: the error says which that is."""
    with pytest.raises(errors.InputError, match=r"k is 10{18}: it takes a whole number from 1 to 1,000,000,000$"):
        passages.execute(f"SELECT * FROM {function}('chunks', 'x', {10**18})").fetchall()


@pytest.mark.parametrize("function", ["vector_top_k", "text_top_k", "hybrid_top_k"])
def test_k_that_is_null(passages, function):
    """A NULL for k (a parameter that was forgotten) is refused, not taken for none or all."""
    with pytest.raises(errors.Error) as raised:
        passages.execute(f"SELECT * FROM {function}('chunks', 'x', NULL)").fetchall()
    assert_says(raised.value, errors.InputError, f"{function}(): k is None", "a whole number from 1")


VECTORS = {
    "NaN": (NAN, ["NaN or infinity"]),
    "infinity": (INFINITE, ["NaN or infinity"]),
    "three dimensions": (
        [1.0, 0.0, 0.0],
        ["3 dimensions", "'chunks' has 384 (all-MiniLM-L6-v2)", "give the text itself"],
    ),
    "768 dimensions": ([1.0] * 768, ["768 dimensions", "'chunks' has 384"]),
    "no dimensions": ([], ["0 dimensions", "'chunks' has 384"]),
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_that_cannot_be(passages, name):
    """Not a number, or of another dimension: named, with the dimension and model of the index."""
    numbers, words = VECTORS[name]
    with pytest.raises(errors.Error) as raised:
        passages.execute(
            "SELECT * FROM vector_top_k('chunks', :v, 3)", {"v": vector(numbers, passages.engine)}
        ).fetchall()
    assert_says(raised.value, errors.InputError, "query is a vector", *words)


def test_a_vector_that_is_bytes_of_something_else(passages):
    """Bytes that are no float32 numbers are told from a vector of another dimension."""
    with pytest.raises(errors.Error) as raised:
        passages.execute("SELECT * FROM vector_top_k('chunks', :v, 3)", {"v": b"abcde"}).fetchall()
    assert_says(raised.value, errors.InputError, "5 bytes, which is no float32 vector", "give the text itself")


FILTERS = {
    "two statements": ("1; DROP TABLE chunks", "';' at character 2"),
    "a parenthesis that closes ours": ("1) OR (1", "the ')' at character 2 closes nothing"),
    "a parenthesis that is not closed": ("(1", "never closed"),
    "a quote that is not closed": ("title = 'x", '"\'" at character 9'),
    "a sub-query": ("id IN (SELECT 1)", "SELECT has no place in it"),
    "a sub-query of DuckDB": ("id IN (FROM chunks)", "FROM has no place in it"),
    "a comment": ("1 -- ", "the comment sign '--'"),
    "a block comment": ("1 /* ", "the comment sign '/*'"),
    "a table": ("id IN chunks", "IN takes its values in parentheses"),
    "nothing": ("", "filter is empty: leave it out"),
    "blanks": (" \n ", "filter is empty: leave it out"),
    "a number": (7, "filter is 7: it is a SQL expression as text"),
}


@pytest.mark.parametrize("function", ["vector_top_k", "text_top_k", "hybrid_top_k"])
@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_that_is_no_expression(passages, function, name):
    """What would end the statement, read other tables or hide in a comment does not get into it."""
    expression, words = FILTERS[name]
    with pytest.raises(errors.Error) as raised:
        passages.execute(f"SELECT * FROM {function}('chunks', 'x', 3, :f)", {"f": expression}).fetchall()
    assert_says(raised.value, errors.FilterError, words)
    assert passages.execute("SELECT count(*) FROM chunks").fetchall() == [(25,)]


@pytest.mark.parametrize("function", ["vector_top_k", "text_top_k", "hybrid_top_k", "search"])
@pytest.mark.parametrize(
    ("expression", "word"),
    [
        ("nope = 1", "nope"),
        ('"nope" = 1', "nope"),
        ("title = 'Bees' AND metadata ->> 'x' >", "syntax"),
        ("no_such_function(title)", "no_such_function"),
        ("min(id) > 1", "aggregate"),
        ("1=1 ORDER BY 1", "ORDER"),
    ],
)
def test_a_filter_that_the_engine_does_not_understand(passages, function, expression, word):
    """A column or function that is not there, or a broken expression: quoted, with the columns that there are."""
    values = "'chunks', 'x', 3, 3, :f" if function == "search" else "'chunks', 'x', 3, :f"
    with pytest.raises(errors.Error) as raised:
        passages.execute(f"SELECT * FROM {function}({values})", {"f": expression}).fetchall()
    assert_says(raised.value, errors.FilterError, f"filter {expression!r} cannot be used", word)
    assert "columns of documents: id, index_name, uri, title, metadata, content_hash, text" in str(raised.value)


PYTHON = {
    "no such index": (
        lambda db: db.search("x", "nope"),
        errors.UnknownIndexError,
        ["no index 'nope'", "there is 'chunks'"],
    ),
    "compare, no such index": (lambda db: db.compare("x", "nope"), errors.UnknownIndexError, ["no index 'nope'"]),
    "a named parameter and no values": (
        lambda db: db.execute("SELECT :q").fetchall(),
        errors.InputError,
        ["parameter"],
    ),
    "top_n above top_k": (
        lambda db: db.search("x", top_k=2, top_n=5),
        errors.InputError,
        ["top_n is 5, more than top_k = 2", "raise top_k"],
    ),
    "compare, top_n above top_k": (
        lambda db: db.compare("x", top_k=2, top_n=5),
        errors.InputError,
        ["top_n is 5, more than top_k = 2"],
    ),
    "top_k of 0": (
        lambda db: db.search("x", top_k=0, top_n=0),
        errors.InputError,
        ["top_k is 0", "whole number from 1"],
    ),
    "a query that is a number": (lambda db: db.search(7), errors.InputError, ["search(): query is 7", "a text"]),
    "a filter that is none": (lambda db: db.search("x", filter="1;"), errors.FilterError, ["';' at character 2"]),
    "ingest, read-only": (
        lambda db: db.ingest("."),
        errors.ReadOnlyError,
        ["is open read-only: nothing can be ingested into it"],
    ),
    "a write, read-only": (lambda db: db.execute("DELETE FROM chunks").fetchall(), errors.ReadOnlyError, ["read-only"]),
    "a table, read-only": (
        lambda db: db.execute("CREATE TABLE t (x INTEGER)").fetchall(),
        errors.ReadOnlyError,
        ["read-only"],
    ),
}


@pytest.mark.parametrize("name", PYTHON)
def test_a_call_that_is_wrong(passages, name):
    """The methods of Database say it as the SQL functions do."""
    call, kind, words = PYTHON[name]
    with pytest.raises(errors.Error) as raised:
        call(passages)
    assert_says(raised.value, kind, *words)


def test_sql_errors_are_the_engine_s_own_words(passages):
    """What the engine does not understand is a SQLError that quotes it, also where it quotes words of ours."""
    for sql in ("SELEC 1", "SELECT * FROM no_such_table", "SELECT no_such_function(1)", "SELECT 'no space left' FRO x"):
        with pytest.raises(errors.SQLError) as raised:
            passages.execute(sql).fetchall()
        assert any(word in str(raised.value) for word in ("SELEC", "no_such", "FRO", "syntax"))


# Long texts

MEGABYTES = pytest.mark.parametrize("megabytes", [2, pytest.param(50, marks=pytest.mark.slow)])


@MEGABYTES
def test_a_large_document(fresh, tmp_path, megabytes):
    """It is read, stored and searched, mostly blank as it is; and costs nothing the second time."""
    path = tmp_path / "large.txt"
    path.write_text("The comet is back." + " \n" * (megabytes * 500_000) + "The ferry is late.")
    report = fresh.ingest(path)
    assert (report.added, report.unreadable) == (1, [])
    assert [hit.text for hit in fresh.search("comet", top_n=1)] == ["The comet is back."]
    rows = fresh.execute("SELECT start_char, end_char FROM chunks ORDER BY ordinal").fetchall()
    assert rows == [(0, 18), (megabytes * 1_000_000 + 18, megabytes * 1_000_000 + 36)]
    encoded = fresh.embedder.texts_encoded
    assert fresh.ingest(path).unchanged == 1
    assert fresh.embedder.texts_encoded == encoded


@MEGABYTES
def test_a_search_for_a_long_text(passages, megabytes):
    """Every function reads the start of a query that is much too long; it costs what a full window does."""
    sql = "SELECT count(*) FROM hybrid_top_k('chunks', :q, 5)"
    seconds = []
    for query in ("how do bees find food? " * 1_000, "how do bees find food? " * (megabytes * 44_000)):
        begun = time.monotonic()
        assert len(passages.search(query, top_k=5)) == 3
        assert passages.execute(sql, {"q": query}).fetchall() == [(5,)]
        seconds.append(time.monotonic() - begun)
    assert seconds[1] < 2 * seconds[0] + 5


@MEGABYTES
def test_a_long_query(passages, megabytes):
    """embed() reads as much as the model's window has; the vector is that of the start."""
    begun = time.monotonic()
    query = "how do bees find food? " * (megabytes * 44_000)
    ((long, short),) = passages.execute("SELECT embed(:long), embed(:short)", {"long": query, "short": query[:5000]})
    assert long == short
    assert time.monotonic() - begun < 10


def test_text_that_is_not_unicode(passages):
    """A lone surrogate, which Python has and UTF-8 has not, is an error of ours, on both engines the same."""
    for sql, params in (
        ("SELECT embed(:q)", {"q": "\ud800"}),
        ("SELECT embed(?)", ["\ud800"]),
        ("SELECT '\ud800'", None),
    ):
        with pytest.raises(errors.Error) as raised:
            passages.execute(sql, params).fetchall()
        assert_says(raised.value, errors.InputError, "a lone surrogate", "replace it")


def test_a_result_that_is_not_read_to_its_end(engine, fresh, monkeypatch):
    """Another statement leaves it as it is; on DuckDB, which has one result at a time, as far as memory would go."""
    if engine == "duckdb":
        monkeypatch.setattr("sqlrag.engines.duckdb.rows._MOST_DRAINED", 2_000)
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i FROM n"
    few = fresh.execute(sql.format(1_500))
    assert fresh.execute("SELECT 1").fetchall() == [(1,)]
    assert len(few.fetchall()) == 1_500
    many = fresh.execute(sql.format(10_000))
    assert fresh.execute("SELECT 1").fetchall() == [(1,)]
    if engine == "sqlite":
        assert len(many.fetchall()) == 10_000
    else:
        with pytest.raises(sqlrag.errors.SQLError, match="more than 2,000 rows had not been read"):
            many.fetchall()


@pytest.mark.parametrize("numbers", [1_000, pytest.param(450_000_000, marks=pytest.mark.slow)])  # more than 2 seconds
def test_duckdb_draws_no_progress_bar(tmp_path, capfd, numbers):
    """It would stand in the standard output of a long statement: in JSON for a pipe, in the messages of an agent."""
    with sqlrag.connect(tmp_path / "new.duckdb") as database:
        database.execute(f"SELECT count(*) FROM range({numbers}) AS n(i) WHERE hash(i) % 7 = 0").fetchall()
        assert database.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(False,)]
    assert capfd.readouterr().out == ""


def test_a_file_of_another_duckdb():
    """What DuckDB 1.5 says of a file of 2.0 is not that it is damaged."""
    said = "Trying to read a database file with version number 999, but we can only read versions between 64 and 68."
    expected = f"DuckDB {duckdb.__version__} can't read it, another version"
    with pytest.raises(errors.NotADatabaseError, match=expected), translated("x.duckdb", opening=True):
        raise duckdb.IOException(said)


def test_a_damaged_duckdb_file(tmp_path):
    """A bit of the header is another."""
    path = tmp_path / "x.duckdb"
    duckdb.connect(path).close()
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(errors.NotADatabaseError, match="damaged"):
        sqlrag.connect(path)
