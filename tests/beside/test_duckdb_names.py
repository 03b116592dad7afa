"""What else has the names of sqlrag's tables, of an indexed table or of a function: sqlrag means its own, on DuckDB."""

from __future__ import annotations

import warnings

import duckdb
import pytest

import sqlrag
from sqlrag import errors
from tests.engine.databases import copy_of

TEXTS = {1: "It rains all night.", 2: "Bees dance in the hive.", 3: "Ships sail in the morning."}
WOMBATS = "Wombats sleep all day."
Q = "which animal sleeps long?"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A database with an index over a table, and a document in an index of its own."""
    folder = tmp_path_factory.mktemp("names")
    with sqlrag.connect(folder / "names.duckdb") as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body VARCHAR, tag VARCHAR)")
        for key, text in TEXTS.items():
            db.execute("INSERT INTO note VALUES (?, ?, 'a')", [key, text])
        db.create_index("notes", "note", "body", filters=["tag"])
        text = folder / "page.txt"
        text.write_text("A page about koalas.", encoding="utf-8")
        db.ingest(text, "pages")
    return folder / "names.duckdb"


@pytest.fixture
def db(made, tmp_path):
    """A copy of it; a warning is an error."""
    with warnings.catch_warnings(), sqlrag.connect(copy_of(made, tmp_path, "names")) as db:
        warnings.simplefilter("error")
        yield db


def assert_whole(db: sqlrag.Database, tmp_path) -> None:
    """All that is there is found and joined, what is new comes in, and neither index lacks anything."""
    found = {hit.source_id: (hit.text, hit.metadata) for hit in db.search(Q, "notes")}
    assert found == {key: (text, {"tag": "a"}) for key, text in TEXTS.items()}
    assert [hit.source_id for hit in db.search(Q, "notes", filter="id > 2")] == [3]
    assert db.sync().removed == 0
    assert db.backlog() == {}
    home = db.execute("SELECT database_name FROM duckdb_databases() WHERE path = ?", [db.path]).fetchall()[0][0]
    db.execute(f"INSERT INTO {home}.main.note VALUES (4, '{WOMBATS}', 'b')")
    best = db.search(Q, "notes", top_n=1)[0]
    assert (best.text, best.metadata) == (WOMBATS, {"tag": "b"})
    db.execute(f"DELETE FROM {home}.main.note WHERE id = 4")
    assert db.sync().removed == 1
    text = tmp_path / "other.txt"
    text.write_text("A page about kiwis.", encoding="utf-8")
    assert db.ingest(text, "pages").added == 1
    assert {hit.title for hit in db.search(Q, "pages")} == {"page.txt", "other.txt"}
    assert db.alter_index("notes", text="{body}").added == 0
    assert {info.index: info.documents for info in db.info()} == {"notes": 3, "pages": 2}
    db.create_index("tags", "note", "tag")
    db.reindex("tags", max_tokens=50)
    db.drop_index("tags")
    assert db.repair() == []


OURS = ("note", "notes", "notes_rows", "notes_embedding", "pages", "documents", "sqlrag_indexes", "sqlrag_meta")


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_f3_temporary_tables_of_our_names(db, tmp_path, kind):
    """F3: temporary tables and views of the user's connection are not read in the place of sqlrag's and the source."""
    for name in OURS:
        db.execute(f"CREATE TEMP {kind} {name} AS SELECT 7 AS id, 7 AS source_id, 'other' AS body, 'x' AS name")
    assert_whole(db, tmp_path)


def test_f3_an_attached_database_with_the_same_tables(db, tmp_path):
    """F3: another database of the connection has an index of this name over a table of this name."""
    path = tmp_path / "far.duckdb"
    with sqlrag.connect(path) as far:
        far.execute("CREATE TABLE note (id VARCHAR PRIMARY KEY, body VARCHAR, tag VARCHAR)")
        far.execute("INSERT INTO note VALUES ('x', 'Something else.', 'z')")
        far.create_index("notes", "note", "body")
    db.execute(f"ATTACH '{path}' AS far")
    db.execute("USE far")
    assert_whole(db, tmp_path)


@pytest.mark.parametrize("statement", ["USE other", "SET search_path = 'other'", "SET schema = 'other'", "USE memory2"])
def test_f18_after_use(db, tmp_path, statement):
    """F18: the user's connection is at another schema or database, with or without tables of the same names."""
    db.execute("CREATE SCHEMA other")
    db.execute("CREATE TABLE other.note AS SELECT 9 AS id, 'no' AS body, 'no' AS tag")
    db.execute("CREATE TABLE other.notes AS SELECT 9 AS id")
    db.execute("ATTACH ':memory:' AS memory2")
    db.execute(statement)
    assert_whole(db, tmp_path)


MACROS = ("md5(x) AS 'evil'", "count(x) AS 77", '"+"(a, b) AS 99', '"||"(a, b) AS \'x\'', "lower(x) AS 'LOW'",
          "hash(x) AS 1", "json_object(a, b) AS '{}'", "list_contains(a, b) AS false", "coalesce2(a) AS a",
          "max(x) AS 0", "getvariable(x) AS 'no'", "length(x) AS 1", "nextval(x) AS 1", "isfinite(x) AS false",
          "duckdb_tables() AS TABLE SELECT 1 AS no", "json_serialize_sql(x) AS '{}'")  # fmt: skip


def test_f3_macros_with_the_names_of_duckdb_s_functions(db, tmp_path):
    """F3: macros that the user makes while the database is open take part in none of sqlrag's own statements."""
    for macro in MACROS:
        db.execute(f"CREATE MACRO {macro}")
    assert_whole(db, tmp_path)


def test_f3_a_registered_connection_at_another_database(db, tmp_path):
    """F3: what is registered is the database that the connection is at, whichever it was opened with."""
    path = db.path
    db.close()
    with duckdb.connect(str(tmp_path / "first.duckdb")) as connection:
        connection.execute(f"ATTACH '{path}' AS second")
        connection.execute("USE second")
        sqlrag.register(connection)
        connection.execute("USE first")
        rows = connection.execute("SELECT source_id FROM search('notes', 'bees', 25, 1)").fetchall()
        assert rows == [(2,)]


def test_d3_an_index_of_this_name_in_capitals(db, made):
    """D3: names of indexes compare without case: no second index is begun in the place of the first."""
    with pytest.raises(errors.InputError, match="'notes' is over the table note"):
        db.ingest(made.with_name("page.txt"), "Notes")
    assert db.ingest(made.with_name("page.txt"), "PAGES").unchanged == 1
    with pytest.raises(errors.InputError, match="'notes' is there already"):
        db.create_index("NOTES", "note", "tag")
    db.create_index("NOTES", "NOTE", "BODY", filters=["TAG"])
    assert db.indexes() == ["notes", "pages"]
    assert db.search(Q, "NOTES", top_n=1)[0].text in TEXTS.values()
    assert db.sync("Notes").added == 0
    db.reindex("NOTES", max_tokens=50)
    assert db.indexes() == ["notes", "pages"]
    assert db.check() == []
    db.drop_index("NoteS")
    assert db.indexes() == ["pages"]
    assert db.check() == []


def test_f3_macros_with_the_names_of_sqlrag_s_own_functions(db, tmp_path):
    """F3: neither a macro of the file nor one of the connection takes the place of what sqlrag's macros call."""
    for temp in ("", "TEMP "):
        db.execute(f"CREATE {temp}MACRO _sqlrag_search(a, b, c, d, e, f, g) AS [{{'id': 1, 'text': 'evil'}}]")
        db.execute(f"CREATE {temp}MACRO _sqlrag_token_count(a, b, c) AS 77")
        db.execute(f"CREATE {temp}MACRO list(x) AS [1]")
        db.execute(f"CREATE {temp}MACRO unnest(x) AS 'evil'")
        db.execute(f"CREATE {temp}MACRO txid_current() AS 5")
    assert_whole(db, tmp_path)
    assert db.execute("SELECT token_count('a b c'), ndcg(1, 1)").fetchall() == [(3, 1.0)]


def test_f18_search_within_search(db):
    """F18: DuckDB 2 refuses an index function within itself: the error says how to write it; so written, it works."""
    nested = "SELECT source_id FROM search('notes', (SELECT text FROM search('notes', 'bees', 1, 1)), 1, 1)"
    if duckdb.__version__.startswith("1."):
        assert db.execute(nested).fetchall() == [(2,)]
    else:
        with pytest.raises(
            errors.SQLError, match=r"search\(\) stands within search\(\).*AS inside, search\(..."
        ) as told:
            db.execute(nested)
        assert "\n" not in str(told.value)
    first = "(SELECT text FROM search('notes', 'bees', 1, 1)) AS inside"
    rows = db.execute(f"SELECT hit.source_id FROM {first}, search('notes', inside.text, 1, 1) AS hit").fetchall()
    assert rows == [(2,)]


@pytest.mark.parametrize("name", ["query", "index", "filter", "text", "hit", "k", "top_k", "search"])
def test_f18_a_table_with_the_name_of_a_parameter(db, name):
    """F18: tables and columns are called as the functions' parameters are."""
    db.execute(f"CREATE TABLE {name} AS SELECT 'bees' AS query, 'notes' AS index, 2 AS k, 'id > 1' AS filter, 1 AS n")
    sql = f"SELECT found.source_id FROM {name}, search({name}.index, {name}.query, {name}.k, n, {name}.filter) AS found"
    assert db.execute(sql).fetchall() == [(2,)]
    sql = f"SELECT found.id FROM {name}, vector_top_k(index, query, k, filter) AS found"
    assert len(db.execute(sql).fetchall()) == 2
