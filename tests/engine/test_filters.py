"""What a `filter` may be: tried past the first check, so that each engine's own reading of it is what refuses."""

from __future__ import annotations

import apsw
import pytest

import sqlrag
from sqlrag import errors

ROWS = "SELECT id FROM vector_top_k('chunks', 'bees', 3, :f)"

HOSTILE = {
    "a sub-query": "id IN (SELECT 1)",
    "a sub-query of the same table": "id = (SELECT max(id) FROM documents)",
    "a sub-query in a function": "length((SELECT text FROM chunks)) > 1",
    "EXISTS": "EXISTS (SELECT 1)",
    "WITH": "id IN (WITH a AS (SELECT 1 AS x) SELECT x FROM a)",
    "VALUES": "id IN (VALUES (1))",
    "UNION": "1) UNION SELECT (1",
    "another statement": "1); DELETE FROM documents WHERE (1",
    "two statements": "1; SELECT 1",
    "GROUP BY": "1) GROUP BY (1",
    "ORDER BY": "1) ORDER BY (1",
    "LIMIT": "1) LIMIT (1",
    "a comment that hides ours": "1 /*",
    "a quote that is not closed": "title = 'x",
    "a name that is not closed": 'title = "x',
    "a parenthesis too many": "1)",
    "a parenthesis too few": "(1",
    "another table's column": "chunks.text = 'x'",
    "an alias of ours": "chunk.id = 1",
    "another table's column by its own name": "ordinal = 0",
    "a text in double quotes": '"no such column" = title',
    "a window": "row_number() OVER () = 1",
    "an aggregate": "count(*) > 1",
}

SQLITE = {
    "a table of SQLite's": "id IN pragma_table_list",
    "a table-valued function": "id IN pragma_table_info('chunks')",
    "an extension": "load_extension('x') IS NULL",
    "an extension's entry": "LOAD_EXTENSION('x', 'y') IS NULL",
    "the shell's": "writefile('x', 'y') > 0",
    "a tokenizer's address": "fts3_tokenizer('simple') IS NULL",
    "a function that has effects": "effect() > 0",
    "RAISE": "RAISE(IGNORE)",
    "brackets around a quote": "CAST(id AS [']) = 5 ) OR ( CAST(title AS [']) <> 7",
    "brackets around a parenthesis": "CAST(id AS [(]) = 5 ) OR ( CAST(title AS [)]) <> 7",
    "brackets around quotes, twice": "[title'] = 5 ) AND ( title <> ['] OR id",
    "another window": "1), w AS (ORDER BY 1",
    "an order after a window": "1) ORDER BY (1",
}

DUCKDB = {
    "FROM first": "id IN (FROM chunks)",
    "a sequence": "nextval('documents_id') > 0",
    "a star": "COLUMNS(*) IS NOT NULL",
    "a file": "id IN (SELECT 1 FROM read_csv('x.csv'))",
    "a table function in a sub-query": "EXISTS (FROM glob('*'))",
}


@pytest.fixture(params=["as it is", "past the first check"])
def first_check(request, monkeypatch):
    """With the check of tokens, and without it."""
    if request.param == "past the first check":
        monkeypatch.setattr("sqlrag.engines.functions.check_filter", lambda text: text)


@pytest.mark.usefixtures("first_check")
@pytest.mark.parametrize(
    ("engine", "name"),
    [("sqlite", name) for name in HOSTILE | SQLITE] + [("duckdb", name) for name in HOSTILE | DUCKDB],
    indirect=["engine"],
)
def test_a_hostile_filter(passages, name):
    """Each is refused by either check, as FilterError; nothing of it has run."""
    known = HOSTILE | (SQLITE if passages.engine == "sqlite" else DUCKDB)
    if passages.engine == "sqlite":
        effects = passages._engine.connection
        effects.create_scalar_function("effect", lambda: pytest.fail("it was run"), 0, flags=apsw.SQLITE_DIRECTONLY)
    with pytest.raises(errors.FilterError, match=r"filter .* cannot be used"):
        passages.execute(ROWS, {"f": known[name]}).fetchall()
    assert passages.execute("SELECT count(*) FROM documents").fetchall()[0][0] > 0


FRIENDLY = {
    "texts": "title LIKE 'B%' AND uri NOT LIKE '%--%'",
    "our own function": "token_count(title) BETWEEN 1 AND 9",
    "JSON": "metadata ->> 'nothing' IS NULL",
    "CASE": "CASE WHEN id % 2 = 0 THEN 1 ELSE 0 END = 1",
    "a cast": "CAST(id AS VARCHAR) < '5'",
    "the table's own name": "documents.id > 3",
    "a name in double quotes": '"title" IS NOT NULL',
    "a text with SELECT in it": "title <> '1) UNION SELECT (1; --'",
    "a date": "current_timestamp IS NOT NULL",
}


@pytest.mark.parametrize("name", FRIENDLY)
def test_a_filter_that_is_an_expression(passages, name):
    """What looks hostile only inside of texts, and what the connection has besides the engine's own functions."""
    assert len(passages.execute(ROWS, {"f": FRIENDLY[name]}).fetchall()) == 3


def test_the_users_own_functions_and_collations(passage_files):
    """Those of the connection may be used; its own authorizer and tracer are what they were."""
    connection = sqlrag.register(apsw.Connection(str(passage_files["sqlite"])))
    connection.create_scalar_function("is_short", lambda text: len(text) < 6, 1, deterministic=True)
    connection.create_collation("backwards", lambda a, b: (b > a) - (b < a))
    seen = []

    def authorizer(*action: object) -> int:
        seen.append(action)
        return apsw.SQLITE_OK

    connection.authorizer = authorizer
    sql = (
        "SELECT d.title FROM vector_top_k('chunks', 'x', 25, ?) AS h "
        "JOIN chunks AS c ON c.id = h.id JOIN documents AS d ON d.id = c.source_id"
    )
    titles = {title for (title,) in connection.execute(sql, ("is_short(title)",))}
    assert titles
    assert all(len(title) < 6 for title in titles)
    assert connection.execute(sql, ("title COLLATE backwards < 'B'",)).fetchall()
    assert connection.authorizer is authorizer
    assert seen
    with pytest.raises(errors.FilterError, match="no such function: is_long"):
        connection.execute(sql, ("is_long(title)",)).fetchall()
    with pytest.raises(errors.FilterError, match="no such collation sequence: sideways"):
        connection.execute(sql, ("title COLLATE sideways < 'B'",)).fetchall()
