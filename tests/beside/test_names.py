"""Temporary and attached tables that have the names of sqlrag's own: none of them is ever read or written."""

from __future__ import annotations

import pytest

import sqlrag
from sqlrag import errors
from sqlrag.text.documents import Document

Q = "which animal sleeps long?"
NOTES = ["It rains.", "Bees dance.", "Wombats sleep all day.", "Ships sail."]


@pytest.fixture
def path(tmp_path):
    """A database with a table of notes, its index, and an index over documents."""
    path = tmp_path / "named.db"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT, tag TEXT UNIQUE)")
        for number, note in enumerate(NOTES, 1):
            db.execute("INSERT INTO note VALUES (?, ?, ?)", (number, note, f"tag {number}"))
        db.create_index("notes", "note", "body", filters=["tag"])
        db.ingest([Document(str(number), "", text, {}, str(number)) for number, text in enumerate(NOTES)], "papers")
    return path


def temporary_ones(db: sqlrag.Database) -> int:
    """Make a temporary table of the name of every table and view of the database; return how many."""
    names = db.execute("SELECT name FROM main.sqlite_schema WHERE type IN ('table', 'view')").fetchall()
    made = 0
    for (name,) in names:
        if not name.startswith("sqlite_"):
            columns = db.execute("SELECT name FROM pragma_table_info(?, 'main')", (name,)).fetchall()
            listed = ", ".join(f'"{column}"' for (column,) in columns)
            db.execute(f'CREATE TEMP TABLE "{name}" ({listed})')
            db.execute(f'INSERT INTO temp."{name}" VALUES ({", ".join("?" * len(columns))})', ["wrong"] * len(columns))
            made += 1
    return made


def attached_ones(db: sqlrag.Database) -> int:
    """Attach a database that has a table of each name; a temporary view stands before the source."""
    db.execute("ATTACH ':memory:' AS other")
    names = db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall()
    for (name,) in names:
        if not name.startswith("sqlite_"):
            db.execute(f'CREATE TABLE other."{name}" (id, body, tag)')
    db.execute("CREATE TEMP VIEW note AS SELECT 7 AS id, 'wrong' AS body, 'wrong' AS tag")
    return len(names)


def nothing(_db: sqlrag.Database) -> int:
    return 0


def life(db: sqlrag.Database) -> list[object]:
    """Do what can be done with indexes; return all that it answers."""
    answers: list[object] = [db.check(), db.backlog(), db.info()]
    db.execute("INSERT INTO main.note VALUES (9, 'Koalas sleep even longer.', 'tag 9')")
    db.execute("DELETE FROM main.note WHERE id = 3")
    db.execute("REPLACE INTO main.note VALUES (10, 'It snows.', 'tag 1')")
    answers += [db.backlog(), [(hit.text, hit.source_id, hit.metadata) for hit in db.search(Q, "notes")]]
    answers += [[hit.text for hit in db.search(Q, "notes", filter="tag = 'tag 2'")]]
    for function in ("vector_top_k", "text_top_k", "hybrid_top_k"):
        for index in ("notes", "papers"):
            answers.append(db.execute(f"SELECT * FROM {function}(?, ?, 3)", (index, Q)).fetchall())
            filtered = f"SELECT * FROM {function}(?, ?, 3, 'id > 1')"
            answers.append(db.execute(filtered, (index, Q)).fetchall())
    answers.append([(hit.text, hit.uri) for hit in db.search(Q, "papers")])
    answers.append(vars(db.sync(compare=True)) | {"seconds": 0})
    db.alter_index("notes", text="{tag}: {body}")
    db.alter_index("papers", tokenizer="trigram")
    db.reindex("notes", max_tokens=50)
    db.reindex("papers", vectors="int8")
    report = db.ingest([Document("5", "", "Otters hold hands.", {}, "5")], "papers")
    answers += [report.added, db.repair(), db.check(), [(one.index, one.chunks) for one in db.info()]]
    db.create_index("twice", "note", "body")
    answers.append([row.recall.mean for row in db.evaluate({"q": Q}, {"q": {"2": 1}}, "papers", top_k=[2]).rows])
    db.drop_index("twice")
    return answers


def dump(db: sqlrag.Database) -> list[object]:
    """Return what the database's own tables hold."""
    tables = ("note", "notes", "notes_rows", "notes_queue", "papers", "documents", "sqlrag_indexes")
    return [db.execute(f'SELECT * FROM main."{table}" ORDER BY 1').fetchall() for table in tables]


@pytest.mark.parametrize("hide", [temporary_ones, attached_ones])
def test_f3_names_are_qualified(path, tmp_path, hide):
    """Every statement of ours, beside tables of the same names: the same answers, the same files."""
    other = tmp_path / "plain.db"
    other.write_bytes(path.read_bytes())
    with sqlrag.connect(path) as hidden, sqlrag.connect(other) as plain:
        assert hide(hidden) > 20
        found, expected = life(hidden), life(plain)
        for one, wanted in zip(found, expected, strict=True):
            assert one == wanted
        assert dump(hidden) == dump(plain)
    with sqlrag.connect(path) as again:
        assert again.check() == []
        assert again.backlog() == {}


def test_f3_a_temp_table_of_the_source_s_name_is_not_read(path):
    """As it was found: rows left the index for every later connection, and sync said 0."""
    with sqlrag.connect(path) as db:
        db.execute("CREATE TEMP TABLE note (id INTEGER PRIMARY KEY, body TEXT, tag TEXT)")
        db.execute("UPDATE main.note SET body = 'Wombats sleep on and on.' WHERE id = 3")
        assert db.sync("notes").changed == 1
    with sqlrag.connect(path) as db:
        assert db.search(Q, "notes", top_n=1)[0].text == "Wombats sleep on and on."


def test_f3_sqlite_s_own_table_functions_are_qualified(path):
    """A temporary table called json_each hides none of ours."""
    with sqlrag.connect(path) as db:
        own = ("json_each", "pragma_table_info", "pragma_table_xinfo", "pragma_table_list", "pragma_index_list")
        for name in (*own, "sqlrag_info", "sqlrag_search"):
            db.execute(f"CREATE TEMP TABLE {name} (name, value)")
        db.execute("INSERT INTO note VALUES (9, 'Koalas sleep even longer.', 'tag 9')")
        for index in ("notes", "papers"):
            assert len(db.search(Q, index, filter="id > 1")) == 3
        assert db.reindex("notes", vectors="int8").added == 5
        assert len(db.search(Q, "notes", filter="id > 1")) == 3
        assert [one.chunks for one in db.info()] == [5, 4]
        assert db.check() == []
        db.execute("DROP TABLE temp.json_each; CREATE TABLE json_each (id INTEGER)")
        with pytest.raises(errors.SQLError, match="called json_each hides SQLite's function json_each"):
            db.search(Q, "notes")


def test_f3_an_attached_table_is_no_source(path):
    """An index is over a table of the database itself; one of another file is named as missing."""
    with sqlrag.connect(path) as db:
        db.execute("ATTACH ':memory:' AS other")
        db.execute("CREATE TABLE other.letter (id INTEGER PRIMARY KEY, body TEXT)")
        for table in ("letter", "other.letter"):
            with pytest.raises(errors.InputError, match=r"letter'.*attached|attached.*letter"):
                db.create_index("letters", table, "body")
