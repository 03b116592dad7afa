"""A DuckDB statement that asks an index finds the rows that were just written, or a warning says why it does not."""

from __future__ import annotations

import warnings
from contextlib import contextmanager, suppress

import duckdb
import pytest

import sqlrag
from sqlrag import errors
from tests.engine.databases import copy_of

WOMBATS = "Wombats sleep all day."
Q = "which animal sleeps long?"
TEXTS = {1: "It rains.", 2: "Bees dance.", 3: "Ships sail."}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A database with a table of three texts and its index."""
    path = tmp_path_factory.mktemp("fresh") / "fresh.duckdb"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body VARCHAR, tag VARCHAR)")
        for key, text in TEXTS.items():
            db.execute("INSERT INTO note VALUES (?, ?, 'a')", [key, text])
        db.create_index("notes", "note", "body", filters=["tag"])
    return path


@pytest.fixture
def path(made, tmp_path):
    """A copy of it."""
    return copy_of(made, tmp_path)


@pytest.fixture
def db(path):
    with sqlrag.connect(path) as db:
        yield db


@contextmanager
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def write(db, key: int = 4, text: str = WOMBATS) -> None:
    db.execute(f"INSERT INTO note VALUES ({key}, '{text}', 'b')")


FORMS = {
    "plain": ("SELECT text FROM search('notes', :q, 25, 1)", ()),
    "quoted": ("SELECT text FROM \"search\" ('notes', :q, 25, 1)", ()),
    "comment": ("SELECT text FROM search/* a /* nested */ one */('notes', :q, 25, 1)", ()),
    "line comment": ("SELECT text FROM search -- (\n('notes', :q, 25, 1)", ()),
    "capitals": ("SELECT text FROM SeArCh('NOTES', :q, 25, 1)", ()),
    "qualified": ("SELECT text FROM temp.main.search('notes', :q, 25, 1)", ()),
    "view": ("SELECT text FROM best", (f"CREATE TEMP VIEW best AS SELECT text FROM search('notes', '{Q}', 25, 1)",)),
    "macro": ("FROM answer(:q)", ("CREATE TEMP MACRO answer(q) AS TABLE SELECT text FROM search('notes', q, 25, 1)",)),
    "execute": ("EXECUTE best", (f"PREPARE best AS SELECT text FROM search('notes', '{Q}', 25, 1)",)),
    "executed with a value": (
        f"EXECUTE best('{Q}')", ("PREPARE best AS SELECT text FROM search('notes', $1::VARCHAR, 25, 1)",),
    ),
    "vectors": ("SELECT c.text FROM vector_top_k('notes', embed(:q), 1) AS hit JOIN notes AS c USING (id)", ()),
    "hybrid": ("SELECT c.text FROM hybrid_top_k('notes', :q, 1, NULL, 1.0) AS hit JOIN notes AS c USING (id)", ()),
    "full text": ("SELECT c.text FROM text_top_k('notes', 'wombats', 1) AS hit JOIN notes AS c USING (id)", ()),
    "column": ("SELECT text FROM (SELECT :q AS q) AS asked, search('notes', asked.q, 25, 1) AS hit", ()),
    "index from a column": ("SELECT text FROM (SELECT 'notes' AS i) AS asked, search(asked.i, :q, 25, 1) AS hit", ()),
    "scalar sub-query": ("SELECT (SELECT text FROM search('notes', :q, 25, 1))", ()),
    "with": ("WITH best AS MATERIALIZED (SELECT text FROM search('notes', :q, 25, 1)) FROM best", ()),
    "several statements": ("SELECT 1; SELECT text FROM search('notes', :q, 25, 1);", ()),
    "source and metadata": (
        "SELECT body FROM search('notes', :q, 25, 1) AS hit JOIN note ON note.id = hit.source_id", (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_f4_whatever_the_statement_looks_like(db, form):
    """F4: the index that is asked is brought up to date, without a word, in every form of asking; again after that."""
    sql, before = FORMS[form]
    with no_warning():
        for statement in before:
            db.execute(statement)
        write(db)
        params = {"q": Q} if ":q" in sql else None
        assert db.execute(sql, params).fetchall() == [(WOMBATS,)]
        assert db.backlog() == {}
        db.execute("UPDATE note SET body = 'Wombats sleep all night, an animal that sleeps long.' WHERE id = 4")
        assert db.execute(sql, params).fetchall() == [("Wombats sleep all night, an animal that sleeps long.",)]


@pytest.mark.parametrize(
    "sql", ["SELECT 'search (' || body FROM note", "SELECT 1 -- search('notes', 'x')", 'SELECT 1 AS "search("',
            "EXPLAIN SELECT * FROM search('notes', 'x')"]
)  # fmt: skip
def test_f4_what_asks_no_index(db, sql):
    """F4: a text, a comment or a plan in which the word stands brings nothing in."""
    write(db)
    with no_warning():
        db.execute(sql).fetchall()
    assert db.backlog() == {"notes": 1}


def test_f4_only_the_index_that_is_asked(db):
    """F4: the others are left as they are."""
    db.create_index("tags", "note", "tag")
    write(db)
    db.search(Q, "notes")
    assert db.backlog() == {"tags": 1}


def test_f4_statements_before_are_not_run_again(db):
    """F4: of several statements in one text, only the one that asks is run again."""
    db.execute("CREATE TABLE log (id INTEGER); CREATE SEQUENCE numbers;")
    sql = (
        "INSERT INTO log SELECT nextval('numbers'); "
        f"INSERT INTO note VALUES (4, '{WOMBATS}', 'b'); "
        "CREATE TABLE answer AS SELECT text FROM search('notes', :q, 25, 1); "
        "INSERT INTO log SELECT nextval('numbers'); "
        "SELECT text, (SELECT count(*) FROM log), :other FROM answer"
    )
    with no_warning():
        assert db.execute(sql, {"q": Q, "other": 5}).fetchall() == [(WOMBATS, 2, 5)]


def test_f4_what_writes_is_undone_before_it_runs_again(db):
    """F4: a statement that writes what it finds writes it once."""
    db.execute("CREATE TABLE found (text VARCHAR)")
    write(db)
    with no_warning():
        db.execute("INSERT INTO found SELECT text FROM search('notes', :q, 25, 2)", {"q": Q})
    assert len(db.execute("FROM found").fetchall()) == 2
    assert (WOMBATS,) in db.execute("FROM found").fetchall()


def test_f4_a_maintenance_function_is_not_called_again(db):
    """F4: a statement that has changed an index is not run again; it is told what the other one lacks."""
    db.create_index("tags", "note", "tag")
    write(db)
    sql = "SELECT sqlrag_drop_index('tags') AS rows, (SELECT count(*) FROM search('notes', 'sleep')) AS hits"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        db.execute(sql).fetchall()
    assert db.indexes() == ["notes"]


def test_f4_more_than_a_query_waits_for(path):
    """F4: a part is brought in, and one warning tells of the rest."""
    with sqlrag.connect(path, sync_rows=1) as db:
        write(db)
        write(db, 5, "Koalas too.")
        with pytest.warns(errors.BacklogWarning, match="does not have 1 changed row of note yet") as told:
            db.execute("SELECT text FROM \"search\"('notes', :q)", {"q": Q}).fetchall()
        assert len(told) == 1
        assert told[0].filename == __file__


def test_f4_read_only(path):
    """F4: a view over search() on a connection that only reads warns."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"INSERT INTO note VALUES (4, '{WOMBATS}', 'b')")
    with sqlrag.connect(path, read_only=True) as db:
        with pytest.warns(errors.BacklogWarning, match="1 changed row of note yet"):
            db.execute("SELECT text FROM \"search\"('notes', :q, 25, 1)", {"q": Q}).fetchall()
        db.confine()
        with pytest.warns(errors.BacklogWarning, match="1 changed row of note yet"):
            db.execute("WITH s AS (FROM search('notes', :q, 25, 1)) FROM s", {"q": Q}).fetchall()


def test_f4_f13_a_registered_connection_warns(path):
    """F4, F13: a connection that was registered is told what the index lacks; its statement cannot be run again."""
    with duckdb.connect(str(path)) as connection:
        sqlrag.register(connection)
        sql = f"SELECT text FROM \"search\"('notes', '{Q}', 25, 1)"
        with no_warning():
            assert connection.execute(sql).fetchall() != [(WOMBATS,)]
        connection.execute(f"INSERT INTO note VALUES (4, '{WOMBATS}', 'b')")
        said = (
            r"'notes' does not have 1 changed row of note yet \(a registered connection brings none in\): call sqlrag"
        )
        with pytest.warns(errors.BacklogWarning, match=said):
            assert connection.execute(sql).fetchall() != [(WOMBATS,)]
        with sqlrag.connect(path) as db:
            assert db.sync().added == 1
        with no_warning():
            assert connection.execute(sql).fetchall() == [(WOMBATS,)]


def test_f10_in_a_transaction_of_the_user_s(db):
    """F10: rows of the open transaction are not in the index, and nobody says that they were."""
    db.execute("BEGIN")
    write(db)
    said = "1 changed row of note yet .nothing is brought in within a transaction: COMMIT it first.: call sync"
    with pytest.warns(errors.BacklogWarning, match=said) as told:
        assert WOMBATS not in [hit.text for hit in db.search(Q, "notes")]
    assert (len(told), told[0].filename) == (1, __file__)
    with pytest.warns(errors.BacklogWarning, match=said):
        db.execute("SELECT text FROM \"search\"('notes', :q)", {"q": Q}).fetchone()
    with pytest.warns(errors.BacklogWarning, match=said):
        db.execute("CREATE TEMP TABLE found AS SELECT text FROM search('notes', :q)", {"q": Q})
    assert db.backlog() == {"notes": 1}
    db.execute("COMMIT")
    with no_warning():
        assert db.search(Q, "notes", top_n=1)[0].text == WOMBATS
    assert db.backlog() == {}


def test_f10_a_transaction_that_has_written_nothing(db):
    """F10: nothing is told where nothing is missing, and the transaction goes on."""
    with no_warning():
        db.execute("BEGIN TRANSACTION; SELECT 1")
        assert len(db.search(Q, "notes")) == 3
        db.execute("UPDATE note SET tag = 'z'")
        assert {hit.metadata["tag"] for hit in db.search(Q, "notes")} == {"z"}
        db.execute("ROLLBACK")
        assert {hit.metadata["tag"] for hit in db.search(Q, "notes")} == {"a"}


def test_f10_nothing_is_written_within_a_transaction(db, tmp_path):
    """F10: what would write an index is refused, as on SQLite, in the words of SQLite."""
    page = tmp_path / "page.txt"
    page.write_text("A page.", encoding="utf-8")
    db.execute("BEGIN")
    write(db)
    for call in (
        db.sync, lambda: db.ingest(page, "pages"), lambda: db.create_index("more", "note", "body"), db.reindex,
        lambda: db.drop_index("notes"), lambda: db.alter_index("notes", text="{body}!"), db.repair,
    ):  # fmt: skip
        with pytest.raises(errors.SQLError, match="a transaction is open on this connection: COMMIT or ROLLBACK it"):
            call()
    db.execute("ROLLBACK")
    assert (db.sync().added, db.indexes(), db.check()) == (0, ["notes"], [])
    db.execute("BEGIN")
    with pytest.raises(errors.SQLError, match="a transaction is open on this connection"):
        db.execute("SELECT sqlrag_sync()").fetchall()
    db.execute("ROLLBACK")
    write(db)
    assert db.execute("SELECT sqlrag_sync()").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "end", ["COMMIT", "END", "ROLLBACK", "ABORT", "/* the */ end -- now", "COMMIT; SELECT 1", "SELECT 1; COMMIT"]
)
def test_f10_the_end_of_a_transaction_is_noticed(db, end):
    """F10: however it is ended; also after an error."""
    db.execute("  start transaction")
    db.execute(end)
    assert db.sync().added == 0
    db.execute("BEGIN")
    with pytest.raises(errors.SQLError):
        db.execute("SELECT error('no')")
    with pytest.raises(errors.SQLError, match="a transaction is open"):
        db.sync()
    with suppress(errors.SQLError):  # DuckDB 1.5 says that it cannot
        db.execute("COMMIT")
    assert db.sync().added == 0
    assert db.execute("SELECT CASE WHEN true THEN 'begin' END, 'commit'").fetchall() == [("begin", "commit")]
    assert db.sync().added == 0


def test_f10_an_index_that_is_newer_than_the_transaction(path, db):
    """F10: another connection brings in rows that the open transaction cannot see: it is told."""
    db.execute("BEGIN")
    assert db.execute("SELECT count(*) FROM note").fetchall() == [(3,)]
    with sqlrag.connect(path) as other:
        write(other)
        assert other.sync().added == 1
    with pytest.warns(errors.BacklogWarning, match="has been written since this transaction began"):
        assert WOMBATS not in [hit.text for hit in db.search(Q, "notes")]
    db.execute("COMMIT")
    with no_warning():
        assert db.search(Q, "notes", top_n=1)[0].text == WOMBATS


def test_d5_a_result_that_is_half_read(db, tmp_path):
    """D5: everything works beside it, it can be read to its end, and it is what the statement saw."""
    page = tmp_path / "page.txt"
    page.write_text("A page about kiwis.", encoding="utf-8")
    db.execute("CREATE TABLE many AS SELECT range AS i FROM range(100000)")
    with no_warning():
        result = db.execute("SELECT i, (SELECT count(*) FROM note) FROM many ORDER BY i")
        assert result.fetchmany(3) == [(0, 3), (1, 3), (2, 3)]
        write(db)
        assert db.sync().added == 1
        assert db.ingest(page, "pages").added == 1
        db.create_index("tags", "note", "tag")
        db.reindex("notes", max_tokens=50)
        assert db.search(Q, "notes", top_n=1)[0].text == WOMBATS
        assert db.check() == []
        db.drop_index("tags")
        db.execute("DROP TABLE many")
        rest = result.fetchall()
    assert (len(rest), rest[0], rest[-1]) == (99997, (3, 3), (99999, 3))


def test_d5_a_result_of_an_index_that_is_written_meanwhile(path, db):
    """D5: questions that are asked while the result is read, after another connection has written, are told of."""
    top = "SELECT id FROM text_top_k('notes', 'rains', 1)"
    late = f"{top} UNION ALL SELECT 0 FROM range(1000000) UNION ALL {top}"  # the last is asked when all else is read
    db.execute("SET threads = 1")
    result = db.execute(late)
    assert result.fetchone() == (1,)
    with sqlrag.connect(path) as other:
        other.execute("UPDATE note SET body = 'It rains again.' WHERE id = 1")
        assert other.sync().changed == 1
    with pytest.warns(errors.BacklogWarning, match="'notes' has been written since this statement began"):
        assert set(result.fetchall()) == {(0,), (4,)}
    result = db.execute(f"SELECT 0 FROM range(1000000) UNION ALL {top}")
    assert result.fetchone() == (0,)
    with duckdb.connect(str(path)) as other:
        other.execute("UPDATE note SET body = 'It rains no more.' WHERE id = 1")
    with pytest.warns(errors.BacklogWarning, match=r"1 changed row of note yet \(they came while this statement ran"):
        assert set(result.fetchall()) == {(0,), (4,)}
    with no_warning():
        assert db.execute(top).fetchall() == [(5,)]


def test_d5_an_error_of_the_rest_is_not_the_next_statement_s(db):
    """D5: what fails while the rest of a result is taken is told to its reader."""
    db.execute("SET threads = 1")  # a second one may be at the error before the first row is asked for
    result = db.execute("SELECT CASE WHEN i < 700000 THEN i ELSE error('later ' || i) END FROM range(900000) r (i)")
    assert result.fetchmany(2) == [(0,), (1,)]
    with no_warning():
        assert db.execute("SELECT 1").fetchall() == [(1,)]
    with pytest.raises(errors.SQLError, match="later"):
        result.fetchall()


def test_f4_several_statements_in_one_text(db):
    """F4: they run one by one, each with the parameters that it names; the rows are those of the last."""
    for sql, expected in {
        "SELECT 1; PIVOT note ON tag USING count(*) GROUP BY body ORDER BY body;": ("Bees dance.", 1),
        "SELECT :a; SELECT :b + 1 -- ; end": (3,),
        "/* ; */ SELECT ';' || :a": (";1",),
        "BEGIN; SELECT :b; COMMIT; SELECT 5;;": (5,),
        "INSERT INTO note VALUES (7, ';', NULL); SELECT count(*) FROM note WHERE body = ';'": (1,),
    }.items():
        assert db.execute(sql, {"a": 1, "b": 2}).fetchone() == expected
    for sql in ("BEGIN", "COMMIT", "", ";", "-- nothing", "SELECT 1; BEGIN; ROLLBACK"):
        result = db.execute(sql)
        assert (result.columns, result.fetchall()) == ([], [])
    with pytest.raises(errors.SQLError, match="syntax error"):
        db.execute("INSERT INTO note VALUES (8, 'x', NULL); SELEC 1")
    assert db.execute("SELECT count(*) FROM note WHERE id = 8; ").fetchall() == [(0,)]


def test_d5_an_index_that_is_written_as_the_statement_begins(path, db):
    """D5: what another connection brings in after a statement began, and before it asks, is seen by all of it."""
    with sqlrag.connect(path) as other:
        asked = []

        def meanwhile(catch_up=db._engine.indexes.catch_up) -> None:  # the statement's snapshot is taken by now
            if not asked:
                other.execute("UPDATE note SET body = body || ' It rains, it rains.'")
                assert other.sync().changed == 3
            asked.append(1)
            catch_up()

        with pytest.MonkeyPatch.context() as patched, no_warning():
            patched.setattr(db._engine.indexes, "catch_up", meanwhile)
            sql = "SELECT count(*), count(c.id) FROM text_top_k('notes', 'rains', 9) LEFT JOIN notes AS c USING (id)"
            assert db.execute(sql).fetchall() == [(3, 3)]
        assert len(asked) == 2
