"""Indexes made, changed and dropped by SQL alone."""

from __future__ import annotations

import pytest

from sqlrag import errors

REVIEWS = """
    INSERT INTO review VALUES
        (1, 'Loud', 'It boils fast, but the whole house wakes up.', 'kettle'),
        (2, 'Lovely', 'Two minutes from cold to tea.', 'kettle'),
        (3, 'Bright', 'Lights up my desk, though the switch feels cheap.', 'lamp')
"""


@pytest.fixture
def db(fresh):
    fresh.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, title TEXT, body TEXT, product TEXT)")
    fresh.execute(REVIEWS)
    return fresh


def value(db, sql: str) -> object:
    ((value,),) = db.execute(sql).fetchall()
    return value


def test_from_a_table_to_an_answer(db):
    """Each returns a number of rows."""
    assert value(db, "SELECT sqlrag_create_index('reviews', 'review', 'body')") == 3
    assert value(db, "SELECT sqlrag_create_index('reviews', 'review', 'body')") == 0
    db.execute("UPDATE review SET body = 'It whistles.' WHERE id = 1")
    db.execute("DELETE FROM review WHERE id = 3")
    assert value(db, "SELECT sqlrag_sync('reviews')") == 2
    assert value(db, "SELECT sqlrag_sync()") == 0
    sql = "SELECT r.id FROM search('reviews', 'what a noise', 5, 1) AS hit JOIN review AS r ON r.id = hit.source_id"
    assert value(db, sql) == 1
    assert value(db, "SELECT sqlrag_drop_index('reviews')") == 2
    assert db.indexes() == []


def test_options_are_a_json_object(db):
    """Several columns as a JSON array; filters, chunking, tokenizer."""
    options = '{"filters": ["product"], "max_tokens": 20, "tokenizer": "trigram"}'
    assert value(db, f"""SELECT sqlrag_create_index('reviews', 'review', '["title", "body"]', '{options}')""") == 3
    (info,) = db.info()
    assert (info.max_tokens, info.tokenizer) == (20, "trigram")
    assert db.search("tea", "reviews")[0].metadata == {"product": "kettle"}
    assert value(db, """SELECT sqlrag_alter_index('reviews', '{"text": "{product}: {body}"}')""") == 3
    assert value(db, "SELECT text FROM reviews WHERE source_id = 2") == "kettle: Two minutes from cold to tea."
    assert value(db, """SELECT sqlrag_reindex('reviews', '{"max_tokens": 200}')""") == 3
    assert db.check() == []


WRONG = {
    "a table that is not there": ("'x', 'nope', 'body'", errors.InputError, "table is 'nope'"),
    "a column that is not there": ("'x', 'review', 'nope'", errors.InputError, "column 'nope'"),
    "a name that is none": ("'x y', 'review', 'body'", errors.InputError, "'x y' is not a name"),
    "a name that is taken": ("'review', 'review', 'body'", errors.DatabaseError, "a table review of its own"),
    "a text that is a number": ("'x', 'review', 5", errors.InputError, "text"),
    "NULL": ("'x', NULL, 'body'", errors.Error, "table|argument"),
    "options that are no JSON": ("'x', 'review', 'body', 'lang'", errors.InputError, "JSON object with any of"),
    "an option that is none": ("""'x', 'review', 'body', '{"colour": 1}'""", errors.InputError, "JSON object"),
    "a model by its path": ("""'x', 'review', 'body', '{"embedder": "/etc"}'""", errors.UnknownModelError, "'/etc'"),
    "a filter column that is none": ("""'x', 'review', 'body', '{"filters": ["no"]}'""", errors.InputError, "'no'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong(db, name):
    """One clear error, and nothing is left behind."""
    arguments, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        db.execute(f"SELECT sqlrag_create_index({arguments})").fetchall()
    assert db.indexes() == []
    assert db.check() == []


def test_not_from_a_view(db):
    """What a file says is not what the user says: a view or trigger cannot call them."""
    db.execute("CREATE VIEW trap AS SELECT sqlrag_create_index('x', 'review', 'body') AS rows")
    with pytest.raises(errors.SQLError, match="unsafe use of sqlrag_create_index"):
        db.execute("SELECT * FROM trap").fetchall()
    if db.engine == "duckdb":  # whose triggers are made of a statement that writes, from 2.0 on
        assert db.indexes() == []
        return
    db.execute("CREATE TRIGGER trap2 AFTER INSERT ON review BEGIN SELECT sqlrag_sync(); END")
    with pytest.raises(errors.SQLError, match="unsafe use of sqlrag_sync"):
        db.execute("INSERT INTO review VALUES (9, 'a', 'b', 'c')")
    assert db.indexes() == []


def test_read_only_has_none(db):
    """A read-only connection does not know them."""
    import sqlrag

    path = db.path
    db.close()
    with sqlrag.connect(path, read_only=True) as reader, pytest.raises(errors.SQLError, match="sqlrag_sync"):
        reader.execute("SELECT sqlrag_sync()").fetchall()
