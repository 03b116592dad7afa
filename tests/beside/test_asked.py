"""On SQLite, an index is fresh where it is asked, however the statement does it; or a warning says why it is not."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

import sqlrag
from sqlrag import errors

WOMBATS = "Wombats sleep all day."
Q = "which animal sleeps long?"

WAYS = {
    "a view": "SELECT text FROM best",
    "a view of a view": "SELECT text FROM best_of_best",
    "quotes": "SELECT text FROM \"search\"('notes', :q, 25, 1)",
    "brackets": "SELECT text FROM [search]('notes', :q, 25, 1)",
    "a comment": "SELECT text FROM search/**/('notes', :q, 25, 1)",
    "a line's comment": "SELECT text FROM search -- (\n('notes', :q, 25, 1)",
    "a schema": "SELECT text FROM main.search('notes', :q, 25, 1)",
    "hidden columns": "SELECT text FROM search WHERE \"index\" = 'notes' AND query = :q AND top_n = 1",
    "a parameter": "SELECT text FROM search(:i, :q, 25, 1)",
    "an expression": "SELECT text FROM search('not' || 'es', :q, 25, 1)",
    "another case": "SELECT text FROM SEARCH('NOTES', :q, 25, 1)",
    "lateral": "SELECT h.text FROM question AS q, search('notes', q.body, 25, 1) AS h",
    "a name out of a table": "SELECT h.text FROM question AS q, search(q.name, q.body, 25, 1) AS h",
    "a sub-query": "SELECT text FROM notes WHERE id IN (SELECT id FROM vector_top_k('notes', :q, 1))",
    "a table expression": (
        "WITH h AS (SELECT * FROM hybrid_top_k('notes', :q, 1)) SELECT text FROM h JOIN notes USING (id)"
    ),
    "behind another statement": "SELECT 1; SELECT text FROM search('notes', :q, 25, 1)",
    "behind a write": (
        "INSERT INTO note VALUES (5, 'Wombats sleep all day and night.'); SELECT text FROM search('notes', :q, 25, 1)"
    ),
    "the other name": "SELECT text FROM sqlrag_search('notes', :q, 25, 1)",
}


@pytest.fixture
def path(tmp_path):
    """A database with an index, views that ask it, and a row that it does not have yet."""
    path = tmp_path / "asked.db"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO note VALUES (1, 'It rains.'), (2, 'Bees dance.'), (3, 'Ships sail.')")
        db.execute("CREATE TABLE question (name TEXT, body TEXT)")
        db.execute("INSERT INTO question VALUES ('notes', ?)", [Q])
        db.execute(f"CREATE VIEW best AS SELECT text FROM search('notes', '{Q}', 25, 1)")
        db.execute("CREATE VIEW best_of_best AS SELECT * FROM best")
        db.create_index("notes", "note", "body")
    write(path, f"INSERT INTO note VALUES (4, '{WOMBATS}')")
    return path


def write(path, *statements: str) -> None:
    """Write as another program does, which knows nothing of sqlrag."""
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, str(path), f"BEGIN; {'; '.join(statements)}; COMMIT"], check=True)


@pytest.mark.parametrize("way", WAYS)
def test_f4_fresh_whatever_the_statement_looks_like(path, way):
    """What was just written is found, and nothing is warned of."""
    with warnings.catch_warnings(), sqlrag.connect(path) as db:
        warnings.simplefilter("error")
        *_, (text,) = db.execute(WAYS[way], {"q": Q, "i": "notes"}).fetchall()
        assert text.startswith("Wombats sleep all day")
        assert db.backlog() == {}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "behind a write"])
def test_f4_a_read_only_connection_warns(path, way):
    """It cannot bring anything in, and says so; each statement once."""
    with sqlrag.connect(path, read_only=True) as db:
        with pytest.warns(errors.BacklogWarning, match=r"1 changed row of note yet \(.*read-only") as warned:
            *_, (text,) = db.execute(WAYS[way], {"q": Q, "i": "notes"}).fetchall()
        assert text != WOMBATS
        assert len(warned) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'search ('",
        "SELECT 1 -- search('notes', 'x')",
        'SELECT 1 AS "search("',
        "SELECT * FROM note WHERE body LIKE 'vector_top_k(%'",
        "EXPLAIN SELECT * FROM search('notes', 'x')",
        "CREATE VIEW another AS SELECT * FROM search('notes', 'x')",
    ],
)
def test_f4_what_only_looks_like_it_starts_nothing(path, statement):
    """A literal, a comment, a name; and a statement that is not run."""
    with sqlrag.connect(path) as db:
        db.execute(statement).fetchall()
        db.describe("SELECT * FROM search('notes', 'x')")
        assert db.backlog() == {"notes": 1}


def test_f4_a_statement_that_writes_asks_before(path):
    """DELETE … WHERE id IN (SELECT … FROM search(…)) deletes what is nearest now."""
    with warnings.catch_warnings(), sqlrag.connect(path) as db:
        warnings.simplefilter("error")
        found = "SELECT source_id FROM search('notes', :q, 25, 1)"
        db.execute(f"DELETE FROM note WHERE id IN ({found})", {"q": Q})
        assert db.execute("SELECT max(id) FROM note").fetchall() == [(3,)]


def test_f4_a_trigger_asks(path):
    """What a trigger asks is fresh before the statement that fires it."""
    with warnings.catch_warnings(), sqlrag.connect(path) as db:
        warnings.simplefilter("error")
        db.execute("CREATE TABLE answer (text TEXT)")
        db.execute(
            "CREATE TRIGGER answered AFTER INSERT ON question BEGIN "
            "INSERT INTO answer SELECT text FROM search('notes', new.body, 25, 1); END"
        )
        db.execute("INSERT INTO question VALUES ('notes', ?)", [Q])
        assert db.execute("SELECT text FROM answer").fetchall() == [(WOMBATS,)]


def test_f4_only_the_index_that_is_asked(path):
    """Another index's backlog is neither brought in nor warned of, where the statement names the one."""
    with sqlrag.connect(path) as db:
        db.sync()
        db.execute("CREATE TABLE letter (id INTEGER PRIMARY KEY, body TEXT)")
        db.create_index("letters", "letter", "body")
    write(path, "INSERT INTO letter VALUES (1, 'Dear all,')", "INSERT INTO note VALUES (7, 'It snows.')")
    with sqlrag.connect(path, read_only=True) as db, pytest.warns(errors.BacklogWarning) as warned:
        db.search(Q, "notes")
    assert [str(one.message).split("'")[1] for one in warned] == ["notes"]
    with sqlrag.connect(path) as db:
        db.search(Q, "notes")
        assert db.backlog() == {"letters": 1}


def test_f4_in_a_transaction_of_the_user_s(path):
    """Nothing is brought in that a ROLLBACK would undo, and each way of asking says why."""
    with sqlrag.connect(path) as db:
        db.execute("BEGIN")
        for way in ("a view", "quotes", "a parameter"):
            with pytest.warns(errors.BacklogWarning, match="a transaction is open on this connection"):
                db.execute(WAYS[way], {"q": Q, "i": "notes"}).fetchall()
        db.execute("COMMIT")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert db.execute("SELECT text FROM best").fetchall() == [(WOMBATS,)]


def test_f4_a_rollback_brings_the_backlog_back(path):
    """What was seen to be fresh inside of a transaction is asked again after its end."""
    with sqlrag.connect(path) as db:
        db.execute("BEGIN")
        db.execute("DELETE FROM notes_queue")
        assert db.backlog() == {}
        db.execute("ROLLBACK")
        assert db.backlog() == {"notes": 1}


def test_f4_a_fresh_index_costs_a_statement(path):
    """A second query looks at nothing but whether anything has changed."""
    with sqlrag.connect(path) as db:
        db.search(Q, "notes")
        db.search(Q, "notes")
        seen: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(db._engine._changes._indexes, "backlog", lambda record: seen.append(record.name) or (0, None))
            db.search(Q, "notes")
            assert seen == []
            write(path, "UPDATE note SET body = 'It pours.' WHERE id = 1")
            db.search(Q, "notes")
            assert seen


@pytest.mark.parametrize("read_only", [True, False], ids=["read-only", "read-write"])
def test_f9_triggers_that_a_migration_has_taken_away(path, read_only):
    """The table was made anew, as sqlite-utils' transform and Django do it: mended, or warned of."""
    with sqlrag.connect(path) as db:
        db.execute("DROP VIEW best_of_best; DROP VIEW best")  # SQLite renames no table beside views that it can't read
        db.sync()
    with sqlrag.connect(path, read_only=read_only) as db, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert db.search(Q, "notes", top_n=1)[0].text == WOMBATS
        write(
            path,
            "CREATE TABLE note_new (id INTEGER PRIMARY KEY, body TEXT, tag TEXT)",
            "INSERT INTO note_new (id, body) SELECT id, body FROM note",
            "DROP TABLE note",
            "ALTER TABLE note_new RENAME TO note",
            "INSERT INTO note VALUES (9, 'Koalas sleep even longer than all other animals.', 'a')",
        )
        if not read_only:
            assert db.search(Q, "notes", top_n=1)[0].source_id == 9
            return
        for _ in range(2):
            with pytest.warns(errors.BacklogWarning, match="may lack changes of note, as its triggers"):
                db.search(Q, "notes")
        with sqlrag.connect(path) as other:
            assert other.sync().added == 1
        assert db.search(Q, "notes", top_n=1)[0].source_id == 9


def test_f9_a_migration_that_leaves_the_triggers(path):
    """New columns, other names: the triggers follow, and there is nothing to warn of."""
    with sqlrag.connect(path) as db:
        db.execute("DROP VIEW best_of_best; DROP VIEW best")
        db.sync()
    with sqlrag.connect(path, read_only=True) as db, warnings.catch_warnings():
        warnings.simplefilter("error")
        for change in ("ADD COLUMN tag TEXT", "RENAME COLUMN body TO text", "RENAME TO remark"):
            write(path, f"ALTER TABLE note {change}")
            assert db.search(Q, "notes", top_n=1)[0].text == WOMBATS


@pytest.mark.parametrize("read_only", [True, False], ids=["read-only", "read-write"])
def test_f9_rowids_that_vacuum_has_changed(tmp_path, read_only):
    """A table whose rows have nothing but their rowid: compared after a VACUUM, or warned of."""
    path = tmp_path / "rowids.db"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (body TEXT)")
        db.execute(f"INSERT INTO note VALUES ('It rains.'), ('Bees dance.'), ('{WOMBATS}')")
        db.create_index("notes", "note", "body")
        db.execute("DELETE FROM note WHERE rowid = 1")
        db.sync()
    with sqlrag.connect(path, read_only=read_only) as db, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert db.search(Q, "notes", top_n=1)[0].source_id == 3
        write(path, "SELECT 1", "COMMIT", "VACUUM", "BEGIN")
        if read_only:
            with pytest.warns(errors.BacklogWarning, match="rowids, which VACUUM may have changed"):
                db.search(Q, "notes")
            with sqlrag.connect(path) as other:
                other.sync()
        assert db.search(Q, "notes", top_n=1)[0].source_id == 2


def test_f9_in_a_transaction_and_after_it(path):
    """Triggers that cannot be made within the user's transaction are warned of, and made once it has ended."""
    with sqlrag.connect(path) as db:
        db.sync()
        db.execute("BEGIN")
        db.execute("DROP TRIGGER notes_source_insert")
        db.execute("INSERT INTO note VALUES (9, 'Koalas sleep even longer than all other animals.')")
        with pytest.warns(errors.BacklogWarning, match="may lack changes of note"):
            db.search(Q, "notes")
        db.execute("COMMIT")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert db.search(Q, "notes", top_n=1)[0].source_id == 9


def test_f9_a_table_that_is_gone(path):
    """A read-only connection says so, too."""
    with sqlrag.connect(path) as db:
        db.sync()
    write(path, "DROP TABLE note")
    with sqlrag.connect(path, read_only=True) as db, pytest.warns(errors.BacklogWarning, match="note, which is gone"):
        db.search(Q, "notes")


def test_d5_a_result_that_is_half_read(path):
    """Its connection goes on seeing what others write: the rest of the rows is read before."""
    with warnings.catch_warnings(), sqlrag.connect(path) as db:
        warnings.simplefilter("error")
        db.sync()
        result = db.execute("SELECT id FROM note ORDER BY id")
        assert result.fetchone() == (1,)
        write(path, "INSERT INTO note VALUES (9, 'Koalas sleep even longer than all other animals.')")
        assert db.sync().added == 1
        assert result.fetchone() == (2,)
        write(path, "DELETE FROM note WHERE id = 9")
        assert db.search(Q, "notes", top_n=1)[0].text == WOMBATS
        assert result.fetchall() == [(3,), (4,)]


def test_d5_ingest_beside_a_result(path):
    """No other process is blamed."""
    with sqlrag.connect(path) as db:
        result = db.execute("SELECT id FROM note ORDER BY id")
        result.fetchone()
        write(path, "DELETE FROM note WHERE id = 1")
        folder = path.parent / "files"
        folder.mkdir()
        (folder / "one.txt").write_text("Otters hold hands.")
        assert db.ingest(folder, "papers").added == 1
        assert result.fetchall() == [(2,), (3,), (4,)]


def test_d5_rows_that_are_too_many(path, monkeypatch):
    """They are not kept, and what they hold the connection to is told."""
    monkeypatch.setattr("sqlrag.engines.sqlite.rows.MOST_KEPT", 10)
    with sqlrag.connect(path) as db:
        result = db.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n, note")
        result.fetchone()
        assert db.sync().added == 1  # nobody else has written
        write(path, "INSERT INTO note VALUES (9, 'Koalas sleep even longer.')")
        with pytest.raises(errors.LockedError, match="a Result of this connection has more than 10 rows left"):
            db.sync()
        with pytest.warns(errors.BacklogWarning, match="a Result of this connection has more than 10 rows left"):
            db.search(Q, "notes")
        result.close()
        assert db.sync().added == 1


def test_d5_an_error_in_the_rest(path):
    """It is the reader's, where it comes, and not that of the call that read ahead."""
    with sqlrag.connect(path) as db:
        result = db.execute("SELECT CASE id WHEN 3 THEN abs(-9223372036854775808) ELSE id END FROM note ORDER BY id")
        assert result.fetchone() == (1,)
        assert db.sync().added == 1
        assert result.fetchone() == (2,)
        with pytest.raises(errors.SQLError, match="integer overflow"):
            result.fetchone()


@pytest.mark.parametrize("name", ["search", "vector_top_k", "text_top_k", "hybrid_top_k", "chunk", "chunk_text"])
def test_f17_a_table_of_a_function_s_name(path, name):
    """The error names the table and what to do; Python's methods and the other name work."""
    arguments = {"chunk_text": "'a b c'", "chunk": "'notes', 1"}.get(name, "'notes', 'sleep', 2")
    with sqlrag.connect(path) as db:
        db.execute(f"DROP VIEW best_of_best; DROP VIEW best; CREATE TABLE {name} (id INTEGER)")
        with pytest.raises(errors.SQLError, match=rf"called {name} hides sqlrag's function.*sqlrag_{name}\(\)"):
            db.execute(f"SELECT * FROM {name}({arguments})").fetchall()
        assert db.execute(f"SELECT * FROM sqlrag_{name}({arguments})").fetchall()
        assert db.search(Q, "notes", top_n=1)[0].text == WOMBATS
        assert db.compare(Q, "notes").hits[0].text == WOMBATS
        assert db.evaluate({"q": Q}, {"q": {"4": 1}}, "notes", top_k=[2]).rows
