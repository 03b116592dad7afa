"""Clients that know nothing of sqlrag write, in every way that SQLite has: nothing is missed, nothing invented."""

from __future__ import annotations

import contextlib
from unittest.mock import patch

import pytest

import sqlrag
from sqlrag import errors
from sqlrag.engines.sqlite.indexed_table import SQLiteIndexedTable
from tests.engine.databases import assert_says
from tests.live.content import assert_in_step, changes
from tests.live.writers import WriteError, Writer

# Rows 1 to 4, each found by its key and by two UNIQUE columns.
REVIEW = """
    CREATE TABLE review(id INTEGER PRIMARY KEY, slug TEXT UNIQUE, a INT, b TEXT COLLATE NOCASE, body TEXT, stars INT,
                        UNIQUE (a, b));
    INSERT INTO review VALUES (1, 's1', 1, 'x', 'a honeycomb', 5), (2, 's2', 2, 'x', 'the bank', 4),
                              (3, 's3', 3, 'x', 'a comet', 3), (4, 's4', NULL, 'x', 'a ferry', 2);
"""


def rows(write, key="id", table="review", text="body"):
    """Return what the table holds, as the other client sees it."""
    return dict(write.rows(f"SELECT {key}, {text} FROM {table}"))


@contextlib.contextmanager
def triggers_alone():
    """In the block nothing is compared: what is found, triggers have told."""
    with patch.object(SQLiteIndexedTable, "_compare", side_effect=AssertionError("compared")):
        yield


def assert_followed(db, write, **of):
    """Sync, by what the triggers have told, brings the index to what the table holds; return its report."""
    with triggers_alone():
        report = db.sync("reviews")
    assert_in_step(db, "reviews", rows(write, **of))
    return report


# What is written → rows added, changed, removed, and how many texts are embedded.
WRITES = {
    "insert": ("INSERT INTO review(body) VALUES ('sourdough')", (1, 0, 0), 1),
    "several rows": ("INSERT INTO review(body) VALUES ('sourdough'), ('walnut'), (NULL), ('')", (4, 0, 0), 2),
    "insert of a select": ("INSERT INTO review(body, stars) SELECT body || ' again', stars FROM review", (4, 0, 0), 4),
    "insert or ignore": ("INSERT OR IGNORE INTO review(id, body) VALUES (1, 'walnut'), (9, 'walnut')", (1, 0, 0), 1),
    "insert or ignore, a UNIQUE column": (
        "INSERT OR IGNORE INTO review(slug, body) VALUES ('s1', 'walnut'), ('s9', 'walnut')", (1, 0, 0), 1,
    ),
    "replace by the key": ("REPLACE INTO review(id, body) VALUES (1, 'walnut'), (9, 'verb')", (1, 1, 0), 2),
    "replace by a UNIQUE column": ("REPLACE INTO review(slug, body) VALUES ('s1', 'walnut')", (1, 0, 1), 1),
    "replace by two UNIQUE columns, one without case": (
        "REPLACE INTO review(a, b, body) VALUES (2, 'X', 'walnut'), (3, 'y', 'verb'), (NULL, 'x', 'bank')",
        (3, 0, 1), 3,
    ),
    "replace of several rows by one": (
        "REPLACE INTO review(id, slug, a, b, body) VALUES (1, 's2', 3, 'x', 'walnut')", (0, 1, 2), 1,
    ),
    "replace in one statement, each by the next": (
        "REPLACE INTO review(slug, body) VALUES ('s1', 'walnut'), ('s1', 'verb'), ('s1', 'comet')", (1, 0, 1), 1,
    ),
    "upsert": (
        "INSERT INTO review(id, body) VALUES (1, 'walnut'), (9, 'verb') "
        "ON CONFLICT DO UPDATE SET body = excluded.body || ' there'", (1, 1, 0), 2,
    ),
    "upsert by a UNIQUE column, of no text": (
        "INSERT INTO review(slug, body) VALUES ('s1', 'walnut') ON CONFLICT (slug) DO UPDATE SET stars = 1",
        (0, 0, 0), 0,
    ),
    "upsert that does nothing": (
        "INSERT INTO review(slug, body) VALUES ('s1', 'walnut') ON CONFLICT DO NOTHING", (0, 0, 0), 0,
    ),
    "update of the text": ("UPDATE review SET body = 'walnut' WHERE id < 3", (0, 2, 0), 2),
    "update of the text to what it is": ("UPDATE review SET body = body", (0, 0, 0), 0),
    "update of case": ("UPDATE review SET body = upper(body)", (0, 4, 0), 4),
    "update of other columns": ("UPDATE review SET stars = 0, slug = 'x' || id, a = a + 10", (0, 0, 0), 0),
    "update to and fro": (
        "UPDATE review SET body = 'walnut'; UPDATE review SET body = 'a honeycomb' WHERE id = 1;"
        "UPDATE review SET body = 'the bank' WHERE id = 2", (0, 2, 0), 2,
    ),
    "update to NULL and to nothing": ("UPDATE review SET body = CASE id WHEN 1 THEN NULL ELSE '' END", (0, 4, 0), 0),
    "update from another table": (
        "UPDATE review SET body = other.body FROM (SELECT 2 AS id, 'walnut' AS body) AS other "
        "WHERE other.id = review.id",
        (0, 1, 0), 1,
    ),
    "update of the key": ("UPDATE review SET id = id + 100 WHERE id > 2", (2, 0, 2), 2),
    "update of the key as the rowid": ("UPDATE review SET rowid = 9 WHERE id = 1", (1, 0, 1), 1),
    "update of key and text": ("UPDATE review SET id = 9, body = 'walnut' WHERE id = 1", (1, 0, 1), 1),
    "update that swaps keys": (
        "UPDATE review SET id = -id WHERE id < 3; UPDATE review SET id = 3 + id WHERE id < 0", (0, 2, 0), 2,
    ),
    "update or replace by the key": ("UPDATE OR REPLACE review SET id = 2 WHERE id = 1", (0, 1, 1), 1),
    "update or replace by a UNIQUE column": ("UPDATE OR REPLACE review SET slug = 's2' WHERE id = 1", (0, 0, 1), 0),
    "update or replace by two": ("UPDATE OR REPLACE review SET a = 2, b = 'X' WHERE id = 1", (0, 0, 1), 0),
    "update or replace, of all rows": ("UPDATE OR REPLACE review SET slug = 'same'", (0, 0, 3), 0),
    "update or ignore": ("UPDATE OR IGNORE review SET slug = 's2', body = 'walnut' WHERE id < 3", (0, 1, 0), 1),
    "delete": ("DELETE FROM review WHERE id IN (1, 3)", (0, 0, 2), 0),
    "delete of all": ("DELETE FROM review", (0, 0, 4), 0),
    "delete and insert": (
        "DELETE FROM review; INSERT INTO review(id, body) VALUES (1, 'a honeycomb'), (2, 'walnut')", (0, 1, 2), 1,
    ),
    "insert and delete": (
        "INSERT INTO review(id, body) VALUES (9, 'x'); DELETE FROM review WHERE id = 9", (0, 0, 0), 0,
    ),
    "a transaction": (
        "BEGIN; UPDATE review SET body = 'walnut' WHERE id = 1; DELETE FROM review WHERE id = 2; COMMIT", (0, 1, 1), 1,
    ),
    "a transaction that is rolled back": (
        "BEGIN; UPDATE review SET body = 'walnut'; DELETE FROM review; ROLLBACK", (0, 0, 0), 0,
    ),
    "a savepoint that is rolled back": (
        "BEGIN; UPDATE review SET body = 'walnut' WHERE id = 1; SAVEPOINT s; DELETE FROM review;"
        "ROLLBACK TO s; RELEASE s; COMMIT", (0, 1, 0), 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("recursive", ["off", "on"])
@pytest.mark.parametrize("written", WRITES.values(), ids=WRITES)
def test_what_any_client_writes(written, recursive, db, write):
    """After sync the index holds what the table does; only texts that are others have been embedded."""
    write(f"PRAGMA recursive_triggers = {recursive};" + REVIEW)
    db.create_index("reviews", "review", "body")
    sql, counts, embedded = written
    encoded = db.embedder.texts_encoded
    write(sql)
    with triggers_alone():
        report = db.sync("reviews")
    assert db.embedder.texts_encoded - encoded == embedded
    assert changes(report) == counts
    assert (report.chunks, report.tokens > 0) == (embedded, embedded > 0)
    assert assert_followed(db, write).tokens == 0


# The columns of the key, its constraint, and what the index has as a row's key.
KEYS = {
    "a text without case": ("id TEXT PRIMARY KEY COLLATE NOCASE", "", "id"),
    "two columns": ("id INT DEFAULT 7, k INT DEFAULT 0", ", PRIMARY KEY (id, k)", "json_array(id, k)"),
    "the rowid": ("id INT", "", "rowid"),
}


@pytest.mark.parametrize("sql", [sql for sql, *_ in WRITES.values()], ids=WRITES)
@pytest.mark.parametrize("made_of", KEYS.values(), ids=KEYS)
def test_what_any_client_writes_by_other_keys(sql, made_of, db, write):
    """The same where the key is a text without case, one of two columns, or the rowid."""
    columns, constraint, key = made_of
    made = REVIEW.replace("id INTEGER PRIMARY KEY", columns).replace("UNIQUE (a, b)", f"UNIQUE (a, b){constraint}")
    write(made.replace("INTO review VALUES (", "INTO review(id, slug, a, b, body, stars) VALUES ("))
    db.create_index("reviews", "review", "body")
    with contextlib.suppress(WriteError):  # some need the other key
        write(sql)
    with triggers_alone():
        db.sync()
    assert_in_step(db, "reviews", {k: v for k, v in rows(write, key=key).items() if k is not None}, vectors=False)


REFUSED = {
    "insert": "INSERT INTO review(id, body) VALUES (9, 'walnut'), (1, 'walnut')",
    "insert or abort": "INSERT OR ABORT INTO review(slug, body) VALUES ('s9', 'walnut'), ('s1', 'walnut')",
    "insert or fail": "INSERT OR FAIL INTO review(slug, body) VALUES ('s9', 'walnut'), ('s1', 'walnut'), ('s8', 'x')",
    "insert or rollback": "INSERT OR ROLLBACK INTO review(slug, body) VALUES ('s9', 'walnut'), ('s1', 'walnut')",
    "update": "UPDATE review SET body = 'walnut', slug = 's2'",
    "update or fail": "UPDATE OR FAIL review SET body = 'walnut', slug = CASE id WHEN 1 THEN 'a' ELSE 's4' END",
    "update or rollback": "UPDATE OR ROLLBACK review SET body = 'walnut', slug = 's2'",
}


@pytest.mark.parametrize("begin", ["", "BEGIN; INSERT INTO review(id, body) VALUES (50, 'verb');"], ids=["", "begun"])
@pytest.mark.parametrize("sql", REFUSED.values(), ids=REFUSED)
def test_what_a_constraint_refuses(sql, begin, db, write):
    """What is left of a statement that failed, by its conflict clause, is what is indexed."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    with pytest.raises(WriteError, match="UNIQUE"):
        write(begin + sql)
    with contextlib.suppress(WriteError):
        write("COMMIT")  # but for OR ROLLBACK, the transaction is open
    assert_followed(db, write)


UNIQUES = {
    "a partial index": ("CREATE UNIQUE INDEX one ON review(stars) WHERE stars > 3", "stars", "5"),
    "an index on an expression": ("CREATE UNIQUE INDEX one ON review(lower(slug))", "slug", "'S1'"),
    "an index on a generated column": (
        "ALTER TABLE review ADD COLUMN low TEXT AS (lower(slug)); CREATE UNIQUE INDEX one ON review(low)",
        "slug", "'S1'",
    ),
    "an index of another collation": ("CREATE UNIQUE INDEX one ON review(slug COLLATE NOCASE)", "slug", "'S1'"),
}  # fmt: skip


@pytest.mark.parametrize("unique", UNIQUES.values(), ids=UNIQUES)
@pytest.mark.parametrize("later", [False, True], ids=["before", "later"])
def test_replace_by_other_unique_indexes(unique, later, db, write):
    """What a REPLACE deletes without a trigger is found, by comparison where no trigger can tell."""
    index, column, value = unique
    write(REVIEW + (index if not later else ""))
    db.create_index("reviews", "review", "body")
    if later:
        write(index)
        db.sync()
    write(f"REPLACE INTO review({column}, body) VALUES ({value}, 'walnut')")
    assert changes(db.sync()) == (1, 0, 1)
    assert_in_step(db, "reviews", rows(write))
    write(f"UPDATE OR REPLACE review SET {column} = {value.lower()} WHERE id = 2")
    assert changes(db.sync()) == (0, 0, 1)
    assert_in_step(db, "reviews", rows(write))


def test_a_constraint_of_the_tables_own_that_replaces(db, write):
    """ON CONFLICT REPLACE in the table's definition makes a REPLACE of a plain INSERT and UPDATE."""
    write("CREATE TABLE review(id INTEGER PRIMARY KEY, slug TEXT UNIQUE ON CONFLICT REPLACE, body TEXT)")
    write("INSERT INTO review VALUES (1, 'a', 'bank'), (2, 'b', 'comet'), (3, 'c', 'ferry')")
    db.create_index("reviews", "review", "body")
    write("INSERT INTO review(slug, body) VALUES ('a', 'walnut'); UPDATE review SET slug = 'b' WHERE id = 3")
    assert changes(assert_followed(db, write)) == (1, 0, 2)


def test_foreign_keys_that_cascade(db, write):
    """What goes, or changes, because of a row of another table, or of its own, is told like any other change."""
    write(
        "PRAGMA foreign_keys = on; CREATE TABLE author(id INTEGER PRIMARY KEY);"
        "CREATE TABLE review(id INT REFERENCES author(id) ON DELETE CASCADE ON UPDATE CASCADE, body TEXT, "
        "number INTEGER PRIMARY KEY, answers INT REFERENCES review(number) ON DELETE CASCADE,"
        "lang TEXT DEFAULT 'en' REFERENCES lang(name) ON UPDATE CASCADE ON DELETE SET DEFAULT);"
        "CREATE TABLE lang(name TEXT PRIMARY KEY); INSERT INTO lang VALUES ('en'), ('de');"
        "INSERT INTO author VALUES (1), (2), (3);"
        "INSERT INTO review VALUES (1, 'honeycomb', 1, NULL, 'en'), (2, 'bank', 2, 1, 'de'), (3, 'comet', 3, 2, 'de'),"
        "(3, 'ferry', 4, NULL, 'en')"
    )
    db.create_index("reviews", "review", "{lang}: {body}")
    text = "lang || ': ' || body"
    write("UPDATE lang SET name = 'fr' WHERE name = 'de'")
    assert changes(assert_followed(db, write, key="number", text=text)) == (0, 2, 0)
    write("DELETE FROM lang WHERE name = 'fr'")
    assert changes(assert_followed(db, write, key="number", text=text)) == (0, 2, 0)
    write("UPDATE author SET id = 9 WHERE id = 3")
    assert changes(assert_followed(db, write, key="number", text=text)) == (0, 0, 0)
    write("DELETE FROM author WHERE id = 1")  # and the answers, and theirs
    assert changes(assert_followed(db, write, key="number", text=text)) == (0, 0, 3)
    assert rows(write, key="number") == {4: "ferry"}


@pytest.mark.parametrize("recursive", ["off", "on"])
def test_triggers_of_the_users_own(recursive, db, write):
    """What the user's triggers write to the table is told, though made by a trigger; and theirs see what they saw."""
    write(
        f"PRAGMA recursive_triggers = {recursive};" + REVIEW + "CREATE TABLE log(what);"
        "CREATE TRIGGER shout AFTER UPDATE OF stars ON review BEGIN "
        "  UPDATE review SET body = body || '!' WHERE id = new.id; INSERT INTO log VALUES ('update'); END;"
        "CREATE TRIGGER copied AFTER INSERT ON review WHEN new.id < 10 BEGIN "
        "  INSERT INTO review(id, body) VALUES (new.id + 10, new.body || ' copied');"
        "  INSERT INTO log VALUES ('insert'); END;"
        "CREATE TRIGGER pruned AFTER DELETE ON review BEGIN DELETE FROM review WHERE id = old.id + 1; END;"
        "CREATE TRIGGER refused BEFORE INSERT ON review WHEN new.body = 'no' BEGIN SELECT RAISE(IGNORE); END;"
    )
    db.create_index("reviews", "review", "body")
    write("UPDATE review SET stars = 1 WHERE id = 1")
    assert changes(assert_followed(db, write)) == (0, 1, 0)
    write("INSERT INTO review(id, body) VALUES (7, 'walnut'), (8, 'no')")
    assert changes(assert_followed(db, write)) == (2, 0, 0)
    write("DELETE FROM review WHERE id = 2")
    assert_followed(db, write)
    assert write.rows("SELECT what, count(*) FROM log GROUP BY what") == [["insert", 1], ["update", 1]]


def test_a_client_that_trusts_no_schema(db, write):
    """The triggers use nothing that `trusted_schema = off` forbids, and their keys are those that are read."""
    write("PRAGMA trusted_schema = off; CREATE TABLE review(a REAL, b, body TEXT UNIQUE, PRIMARY KEY (a, b))")
    db.create_index("reviews", "review", "body")
    write("INSERT INTO review VALUES (0.1, 'x', 'walnut'), (1, 2, 'bank'); REPLACE INTO review VALUES (2, 1, 'walnut')")
    write("UPDATE review SET b = 'y', body = 'verb' WHERE a = 2; DELETE FROM review WHERE a = 1")
    strange = ('"', "\\", "'", '\\"', "[1,2]", "\n\t\x01\x7f", "a\0b", "🚋", "null", "{}", "\u2028")
    for number, text in enumerate(strange):
        write("INSERT INTO review VALUES (?, ?, ?)", number + 0.5, text, f"ferry {number}")
    assert changes(db.sync()) == (len(strange) + 1, 0, 0)
    write("PRAGMA trusted_schema = on")
    assert_in_step(db, "reviews", dict(db.execute("SELECT json_array(a, b), body FROM review")))
    write("PRAGMA trusted_schema = off; UPDATE review SET body = body || ' comet'; DELETE FROM review WHERE a > 9")
    assert_followed(db, write, key="json_array(a, b)")
    assert changes(db.sync(compare=True)) == (0, 0, 0)


def test_what_is_in_the_queue_that_no_trigger_wrote(db, write):
    """Keys that are none are taken out of the queue and named; the rows are as they were."""
    write("CREATE TABLE review(a INT, b INT, body TEXT, PRIMARY KEY (a, b)); INSERT INTO review VALUES (1, 2, 'bank')")
    db.create_index("reviews", "review", "body")
    for key in (
        "'x'",
        "'[1]'",
        "'[1,2,3]'",
        "'7'",
        "NULL",
        "x'00'",
        "'[3,4]'",
        "'[[1],2]'",
        "'[1e999,99999999999999999999]'",
    ):
        write(f"INSERT INTO reviews_queue(source_id, queued_at) VALUES ({key}, 0)")
    report = db.sync()
    assert changes(report) == (0, 0, 0)
    assert len(report.unreadable) == 8
    assert_in_step(db, "reviews", {"[1,2]": "bank"})


def test_what_a_writer_sees_is_what_it_saw(db, write):
    """Triggers change nothing that a client can ask after a statement: changes(), the last rowid, RETURNING."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    assert write("INSERT INTO review(body) VALUES (?) RETURNING id, body", "walnut") == [[5, "walnut"]]
    assert write.rows("SELECT changes(), last_insert_rowid()") == [[1, 5]]
    assert write("UPDATE review SET body = ? RETURNING id", "verb") == [[1], [2], [3], [4], [5]]
    assert write.rows("SELECT changes(), last_insert_rowid()") == [[5, 5]]
    assert write("DELETE FROM review WHERE id > ? RETURNING id", 2) == [[3], [4], [5]]
    assert write.rows("SELECT changes(), last_insert_rowid()") == [[3, 5]]


def test_a_transaction_that_is_open(db, write):
    """What is not committed is not there; once it is, it is found. Meanwhile readers read, and sync waits its turn."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    write("PRAGMA journal_mode = wal")
    write("BEGIN; UPDATE review SET body = 'walnut' WHERE id = 1")
    assert db.sync().changed == 0
    assert db.search("honeycomb", top_n=1)[0].source_id == 1
    write("COMMIT")
    assert assert_followed(db, write).changed == 1


MEANWHILE = {
    "the text changes": ("UPDATE review SET body = 'verb' WHERE id = 1", 1),
    "the text changes and comes back": (
        "UPDATE review SET body = 'verb' WHERE id = 1; UPDATE review SET body = 'walnut' WHERE id = 1",
        2,
    ),
    "the row goes": ("DELETE FROM review WHERE id = 1", 1),
    "the row is replaced": ("REPLACE INTO review(slug, body) VALUES ('s1', 'verb')", 1),
    "the key changes": ("UPDATE review SET id = 9 WHERE id = 1", 1),
    "another row changes": ("UPDATE review SET body = 'verb' WHERE id = 3", 2),
    "another column changes": ("UPDATE review SET stars = 0", 2),
}


@pytest.mark.parametrize("compare", [False, True], ids=["told", "compared"])
@pytest.mark.parametrize(("sql", "written"), MEANWHILE.values(), ids=MEANWHILE)
def test_a_row_changes_while_it_is_embedded(sql, written, compare, db, write):
    """What was embedded of a text that is there no more is not written: the row is still queued, and taken next."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    write("UPDATE review SET body = 'walnut' WHERE id < 3")
    batches = []
    take, apply = SQLiteIndexedTable.take, SQLiteIndexedTable.apply

    def apply_later(table, indexed):
        if not batches:
            write(sql)
        batches.append(apply(table, indexed))
        return batches[-1]

    two_rows = patch.object(SQLiteIndexedTable, "take", lambda table, rows, limits: take(table, min(rows, 2), limits))
    with two_rows, patch.object(SQLiteIndexedTable, "apply", apply_later):
        assert db.sync("reviews", compare=compare).backlog == 0
    assert len(batches[0]) == written
    assert_in_step(db, "reviews", rows(write))


def test_two_syncs_at_once(path, db, write):
    """What another process has brought in meanwhile is not written twice, and nobody waits for ever."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    write("UPDATE review SET body = 'walnut' WHERE id < 3; DELETE FROM review WHERE id = 4")
    apply = SQLiteIndexedTable.apply
    others = []

    def apply_later(table, indexed):
        if not others:
            with sqlrag.connect(path) as other:
                others.append(None)
                others.append(other.sync())
        return apply(table, indexed)

    with patch.object(SQLiteIndexedTable, "apply", apply_later):
        report = db.sync()
    assert changes(others[1]) == (0, 2, 1)
    assert changes(report) == (0, 0, 0)
    assert_in_step(db, "reviews", rows(write))


def test_two_writers_and_two_indexes(path, db, write):
    """Each index is told of what either client writes."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    db.create_index("slugs", "review", "slug")
    with contextlib.closing(Writer()) as other:
        other.open(path)
        write("UPDATE review SET body = 'walnut' WHERE id = 1")
        other("UPDATE review SET slug = 'verb' WHERE id = 1; UPDATE review SET body = 'verb' WHERE id = 2")
    with triggers_alone():
        assert db.sync().changed == 3
    assert_in_step(db, "reviews", rows(write))
    assert_in_step(db, "slugs", rows(write, text="slug"))


# The table itself changes


def test_a_column_is_added(db, write):
    """A column that is not in the text changes nothing, nor does what is written to it."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    write(
        "ALTER TABLE review ADD COLUMN year INT DEFAULT 2020; UPDATE review SET year = 2021;"
        "UPDATE review SET body = 'walnut' WHERE id = 1"
    )
    assert changes(assert_followed(db, write)) == (0, 1, 0)
    assert db.search("walnut", filter="year = 2021")[0].source_id == 1


def test_a_column_is_renamed(db, write):
    """A text's, a key's or a filter's column keeps its part under its new name; nothing is embedded again."""
    write(REVIEW)
    db.create_index("reviews", "review", "{slug}: {body}", filters=["body", "stars"])
    write(
        'ALTER TABLE review RENAME COLUMN body TO "the ""text"""; ALTER TABLE review RENAME COLUMN id TO number;'
        'UPDATE review SET "the ""text""" = \'walnut\' WHERE number = 1;'
        "DELETE FROM review WHERE number = 2"
    )
    report = db.sync()
    assert (*changes(report), report.chunks) == (0, 1, 1, 1)
    assert_in_step(db, "reviews", rows(write, key="number", text='slug || \': \' || "the ""text"""'))
    hit = db.search("walnut", top_n=1, filter="number = 1")[0]
    assert (hit.source_id, hit.metadata) == (1, {'the "text"': "walnut", "stars": 5})
    assert changes(db.create_index("reviews", "review", '{slug}: {the "text"}', filters=['the "text"', "stars"])) == (
        0,
        0,
        0,
    )
    write("UPDATE review SET slug = 'x' WHERE number = 1")
    with triggers_alone():
        assert db.sync().changed == 1


def test_a_column_is_renamed_that_only_filters(db, write):
    """Which column it was nothing tells: the error says which is missing, and how it goes on."""
    write(REVIEW)
    db.create_index("reviews", "review", "body", filters=["stars"])
    write("ALTER TABLE review RENAME COLUMN stars TO points")
    with pytest.raises(errors.DatabaseError) as error:
        db.sync()
    assert_says(error.value, errors.SourceGoneError, "'reviews'", "'stars'", "review", "points", "alter_index")


def test_a_column_of_the_text_cannot_be_dropped(db, write):
    """SQLite refuses to drop what a trigger names, and names the trigger."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    with pytest.raises(WriteError, match="reviews_source_update"):
        write("ALTER TABLE review DROP COLUMN body")
    write("ALTER TABLE review DROP COLUMN stars; UPDATE review SET body = 'walnut' WHERE id = 1")
    assert assert_followed(db, write).changed == 1


def test_the_table_is_renamed(db, write):
    """SQLite takes the triggers along, and sync the index: nothing is embedded again."""
    write(REVIEW)
    db.create_index("reviews", "review", "body", filters=["stars"])
    write('ALTER TABLE review RENAME TO "the ""critics"""')
    table = '"the ""critics"""'
    write(f"UPDATE {table} SET body = 'walnut' WHERE id = 1; REPLACE INTO {table}(slug, body) VALUES ('s2', 'verb')")
    report = db.sync()
    assert (*changes(report), report.chunks) == (1, 1, 1, 2)
    assert_in_step(db, "reviews", rows(write, table=table))
    hit = db.search("walnut", top_n=1, filter="stars = 5")[0]
    assert (hit.source_id, hit.metadata) == (1, {"stars": 5})
    assert db.info()[0].source == 'the "critics"'
    write(f"DELETE FROM {table} WHERE id = 1")
    assert changes(assert_followed(db, write, table=table)) == (0, 0, 1)
    db.drop_index("reviews")
    assert db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall() == []


def test_an_index_is_made_again_over_a_renamed_table(db, write):
    """The same definition by the new names is the same index, also before a sync."""
    write(REVIEW)
    db.create_index("reviews", "review", "body", filters=["body"])
    write(
        "ALTER TABLE review RENAME TO critic; ALTER TABLE critic RENAME COLUMN body TO words;"
        "UPDATE critic SET words = 'walnut' WHERE id = 1"
    )
    report = db.create_index("reviews", "critic", "words", filters=["words"])
    assert (*changes(report), report.chunks) == (0, 1, 0, 1)
    assert_in_step(db, "reviews", rows(write, table="critic", text="words"))


def test_the_table_is_made_anew(db, write):
    """As migrations do it: a copy, the old table dropped, the copy renamed. The triggers went with the old one."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    write(
        "BEGIN; CREATE TABLE new_review(id INTEGER PRIMARY KEY, body TEXT NOT NULL, year INT);"
        "INSERT INTO new_review SELECT id, body, 2020 FROM review; DROP TABLE review;"
        "ALTER TABLE new_review RENAME TO review; COMMIT; UPDATE review SET body = 'walnut' WHERE id = 1"
    )
    report = db.sync()
    assert (*changes(report), report.chunks) == (0, 1, 0, 1)
    write("UPDATE review SET body = 'verb' WHERE id = 2; DELETE FROM review WHERE id = 3")
    assert changes(assert_followed(db, write)) == (0, 1, 1)


def test_the_old_table_is_renamed_and_stays(db, write):
    """A new table of the old name is the source, though the triggers have gone with the old one."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    write(
        "ALTER TABLE review RENAME TO old; CREATE TABLE review(id INTEGER PRIMARY KEY, body TEXT);"
        "INSERT INTO review SELECT id, body FROM old WHERE id < 3;"
        "INSERT INTO old(body) VALUES ('sourdough')"
    )
    assert changes(db.sync()) == (0, 0, 2)
    write("UPDATE review SET body = 'walnut' WHERE id = 1; UPDATE old SET body = 'verb'")
    assert changes(assert_followed(db, write)) == (0, 1, 0)
    assert db.execute("SELECT DISTINCT tbl_name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '%source%'") \
        .fetchall() == [("review",)]  # fmt: skip


def test_the_table_is_gone(db, write):
    """Sync says so, and what to do; what is indexed is still found by SQL; the index can be dropped."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    write("DROP TABLE review")
    for sync in (db.sync, lambda: db.sync("reviews", compare=True)):
        with pytest.raises(errors.DatabaseError) as error:
            sync()
        assert_says(error.value, errors.SourceGoneError, "'reviews'", "review", "gone", "drop_index")
    with pytest.warns(errors.BacklogWarning, match="review, which is gone"):
        assert db.search("honeycomb", top_n=1)[0].source_id == 1
    sql = "SELECT source_id FROM vector_top_k('reviews', 'honeycomb', 1) AS hit JOIN reviews ON reviews.id = hit.id"
    with pytest.warns(errors.BacklogWarning, match="review, which is gone"):
        assert db.execute(sql).fetchall() == [(1,)]
    db.drop_index("reviews")
    assert db.indexes() == []


@pytest.mark.parametrize("made", ["body TEXT", "id INTEGER PRIMARY KEY, txt TEXT"], ids=["key", "text"])
def test_the_table_is_made_anew_without_a_column(made, db, write):
    """A key or text that is not there any more is a clear error."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    write(f"DROP TABLE review; CREATE TABLE review({made})")
    with pytest.raises(errors.DatabaseError) as error:
        db.sync()
    missing = "'id'" if "id" not in made else "'body'"
    assert_says(error.value, errors.SourceGoneError, "'reviews'", missing, "review")


OTHER_KEYS = {
    "another type": "CREATE TABLE review(id TEXT PRIMARY KEY, body TEXT)",
    "another column": "CREATE TABLE review(id INT, number INTEGER PRIMARY KEY, body TEXT)",
    "several columns": "CREATE TABLE review(id INT, number INT, body TEXT, PRIMARY KEY (id, number))",
    "none": "CREATE TABLE review(id INT, body TEXT)",
    "a view": "CREATE VIEW review AS SELECT 1 AS id, 'walnut' AS body",
}


@pytest.mark.parametrize("made", OTHER_KEYS.values(), ids=OTHER_KEYS)
def test_the_table_is_made_anew_with_another_key(made, db, write):
    """What the index has as keys are none then: the error says so, and what to do."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    write(f"DROP TABLE review; {made}")
    with pytest.raises(errors.DatabaseError) as error:
        db.sync()
    kind, now = (errors.SourceGoneError, "a view now") if "VIEW" in made else (errors.DatabaseError, "id INTEGER")
    assert_says(error.value, kind, "'reviews'", "review", now, "drop_index('reviews')")
    db.drop_index("reviews")
    db.create_index("reviews", "review", "body", key=None if "TABLE" in made else "id")


@pytest.mark.parametrize("which", ["insert", "update", "delete", "insert_1", "update_1"])
def test_a_trigger_is_dropped(which, db, write):
    """Sync sees that a trigger is missing, compares everything, and makes it again."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    made = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name"
    triggers = db.execute(made).fetchall()
    write(f"DROP TRIGGER reviews_source_{which}")
    write(
        "UPDATE review SET body = 'walnut' WHERE id = 1; DELETE FROM review WHERE id = 4;"
        "REPLACE INTO review(slug, body) VALUES ('s2', 'verb');"
        "UPDATE OR REPLACE review SET slug = 's1' WHERE id = 3"
    )
    report = db.sync()
    assert changes(report) == (0, 1, 2)  # 4 is an id again
    assert_in_step(db, "reviews", rows(write))
    assert db.execute(made).fetchall() == triggers
    write("UPDATE review SET body = 'sourdough'")
    assert_followed(db, write)


def test_a_trigger_is_changed(db, write):
    """A trigger of ours that somebody has rewritten is put right, and everything compared."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    write(
        "DROP TRIGGER reviews_source_delete; CREATE TRIGGER reviews_source_delete AFTER DELETE ON review "
        "WHEN old.id = 1 BEGIN SELECT 1; END; DELETE FROM review WHERE id = 2"
    )
    assert db.sync().removed == 1
    write("DELETE FROM review WHERE id = 3")
    assert assert_followed(db, write).removed == 1
