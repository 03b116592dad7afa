"""Every kind of table and view that an index can be over: made, changed by another client, brought in, dropped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

import sqlrag
from sqlrag import errors
from tests.engine.databases import assert_says
from tests.live.content import assert_in_step, changes


@dataclass
class Case:
    """A source; what another client does to it; what the index must hold before and after."""

    made: str
    before: dict[Any, str | None]
    changed: str
    after: dict[Any, str | None]
    counts: tuple[int, int, int]
    """Rows added, changed, removed by the second sync."""
    table: str = "review"
    text: str | list[str] = "body"
    options: dict[str, Any] = field(default_factory=dict)


THREE = "INSERT INTO review VALUES ({}, 'a honeycomb'), ({}, 'the bank'), ({}, 'a comet')"
CHANGED = "UPDATE review SET body = 'walnut bread' WHERE {0} = {1}; DELETE FROM review WHERE {0} = {2};"

CASES = {
    "an integer key": Case(
        "CREATE TABLE review(id INTEGER PRIMARY KEY, body TEXT);" + THREE.format(-5, 0, 2**53 + 1),
        {-5: "a honeycomb", 0: "the bank", 2**53 + 1: "a comet"},
        CHANGED.format("id", -5, 0) + "INSERT INTO review(body) VALUES ('a ferry')",
        {-5: "walnut bread", 2**53 + 1: "a comet", 2**53 + 2: "a ferry"},
        (1, 1, 1),
    ),
    "a text key": Case(
        "CREATE TABLE review(id TEXT PRIMARY KEY, body TEXT);" + THREE.format("'1'", "'007'", "'ü 🚋'"),
        {"1": "a honeycomb", "007": "the bank", "ü 🚋": "a comet"},
        CHANGED.format("id", "'1'", "'007'") + "INSERT INTO review VALUES ('7', 'a ferry')",
        {"1": "walnut bread", "ü 🚋": "a comet", "7": "a ferry"},
        (1, 1, 1),
    ),
    "a text key without case": Case(
        "CREATE TABLE review(id TEXT PRIMARY KEY COLLATE NOCASE, body TEXT);" + THREE.format("'a'", "'B'", "'c'"),
        {"a": "a honeycomb", "B": "the bank", "c": "a comet"},
        "UPDATE review SET id = 'A' WHERE id = 'a'; UPDATE review SET body = 'walnut bread' WHERE id = 'b';"
        "REPLACE INTO review VALUES ('C', 'a ferry')",
        {"A": "a honeycomb", "B": "walnut bread", "C": "a ferry"},
        (2, 1, 2),
    ),
    "a key of any type": Case(
        "CREATE TABLE review(id PRIMARY KEY, body TEXT);" + THREE.format("'1'", 1, "x'31'"),
        {"1": "a honeycomb", 1: "the bank", b"1": "a comet"},
        "UPDATE review SET body = 'walnut bread' WHERE id = 1; DELETE FROM review WHERE id = x'31';",
        {"1": "a honeycomb", 1: "walnut bread"},
        (0, 1, 1),
    ),
    "a key of fractional numbers": Case(
        "CREATE TABLE review(id REAL PRIMARY KEY, body TEXT);" + THREE.format("0.1 + 0.2", 0.3, 2),
        {0.1 + 0.2: "a honeycomb", 0.3: "the bank", 2.0: "a comet"},
        CHANGED.format("id", "0.1 + 0.2", 2),
        {0.1 + 0.2: "walnut bread", 0.3: "the bank"},
        (0, 1, 1),
    ),
    "a key that another type's name hides": Case(
        "CREATE TABLE review(id INT PRIMARY KEY, body TEXT);" + THREE.format("'one'", "'2'", 3.5),
        {"one": "a honeycomb", 2: "the bank", 3.5: "a comet"},
        CHANGED.format("id", "'one'", 2),
        {"one": "walnut bread", 3.5: "a comet"},
        (0, 1, 1),
    ),
    "a composite key": Case(
        "CREATE TABLE review(lang TEXT, id INTEGER, body TEXT, PRIMARY KEY (lang, id));"
        "INSERT INTO review VALUES ('en', 1, 'a honeycomb'), ('en', 2, 'the bank'), ('d''e \"[🚋', 1, 'a comet')",
        {'["en",1]': "a honeycomb", '["en",2]': "the bank", '["d\'e \\"[🚋",1]': "a comet"},
        "UPDATE review SET body = 'walnut bread' WHERE id = 1; DELETE FROM review WHERE id = 2;"
        "UPDATE review SET lang = 'fr' WHERE lang = 'en';"
        "INSERT INTO review VALUES ('en', 9223372036854775807, 'ferry')",
        {'["fr",1]': "walnut bread", '["d\'e \\"[🚋",1]': "walnut bread", '["en",9223372036854775807]': "ferry"},
        (2, 1, 2),
    ),
    "without rowid": Case(
        "CREATE TABLE review(id TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID;" + THREE.format("'1'", "'2'", "'3'"),
        {"1": "a honeycomb", "2": "the bank", "3": "a comet"},
        CHANGED.format("id", "'1'", "'2'") + "UPDATE review SET id = '4' WHERE id = '3'",
        {"1": "walnut bread", "4": "a comet"},
        (1, 1, 2),
    ),
    "without rowid, a composite key": Case(
        "CREATE TABLE review(b INT, a INT, body TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;"
        "INSERT INTO review VALUES (1, 2, 'a honeycomb'), (2, 1, 'the bank')",
        {"[2,1]": "a honeycomb", "[1,2]": "the bank"},
        "REPLACE INTO review VALUES (1, 2, 'walnut bread'); UPDATE OR REPLACE review SET a = b, b = a WHERE a = 1",
        {"[2,1]": "the bank"},
        (0, 1, 1),
    ),
    "no key but the rowid": Case(
        "CREATE TABLE review(slug TEXT, body TEXT);" + THREE.format("'x'", "'y'", "'z'"),
        {1: "a honeycomb", 2: "the bank", 3: "a comet"},
        CHANGED.format("slug", "'x'", "'y'") + "INSERT INTO review(rowid, body) VALUES (70, 'a ferry');"
        "UPDATE review SET rowid = 4 WHERE slug = 'z'",
        {1: "walnut bread", 4: "a comet", 70: "a ferry"},
        (2, 1, 2),
    ),
    "a rowid by another name, as a column is called rowid": Case(
        "CREATE TABLE review(rowid TEXT, body TEXT);" + THREE.format("'x'", "'y'", "'z'"),
        {1: "a honeycomb", 2: "the bank", 3: "a comet"},
        CHANGED.format("rowid", "'x'", "'y'"),
        {1: "walnut bread", 3: "a comet"},
        (0, 1, 1),
    ),
    "strict": Case(
        "CREATE TABLE review(id ANY PRIMARY KEY, body ANY) STRICT;" + THREE.format("'1'", 1, "'x'"),
        {"1": "a honeycomb", 1: "the bank", "x": "a comet"},
        CHANGED.format("id", 1, "'x'") + "INSERT INTO review VALUES ('01', 5)",
        {"1": "a honeycomb", 1: "walnut bread", "01": "5"},
        (1, 1, 1),
    ),
    "a generated column": Case(
        "CREATE TABLE review(id INTEGER PRIMARY KEY, a TEXT, b TEXT, body TEXT AS (a || ' ' || b), "
        "stored TEXT AS (upper(a)) STORED); INSERT INTO review(a, b) VALUES ('a', 'honeycomb'), ('the', 'bank')",
        {1: "a honeycomb A", 2: "the bank THE"},
        "UPDATE review SET b = 'comet' WHERE id = 1; INSERT INTO review(a, b) VALUES ('one', 'ferry')",
        {1: "a comet A", 2: "the bank THE", 3: "one ferry ONE"},
        (1, 1, 0),
        text="{body} {stored}",
    ),
    "a view": Case(
        "CREATE TABLE thing(id TEXT PRIMARY KEY, body TEXT, shown INT);"
        "INSERT INTO thing VALUES ('007', 'a honeycomb', 1), ('7', 'the bank', 1), ('8', 'a comet', 0);"
        "CREATE VIEW review AS SELECT id, upper(body) AS body FROM thing WHERE shown",
        {"007": "A HONEYCOMB", "7": "THE BANK"},
        "UPDATE thing SET shown = NOT shown WHERE id > '007'; UPDATE thing SET body = 'walnut' WHERE id = '007'",
        {"007": "WALNUT", "8": "A COMET"},
        (1, 1, 1),
        options={"key": "ID"},
    ),
    "a view with a key of several columns, of which one may be NULL": Case(
        "CREATE TABLE a(id INTEGER PRIMARY KEY, x TEXT); CREATE TABLE b(id INTEGER PRIMARY KEY, a INT, y TEXT);"
        "INSERT INTO a VALUES (1, 'honeycomb'), (2, 'bank'); INSERT INTO b VALUES (1, 1, 'comet'), (2, 1, 'ferry');"
        "CREATE VIEW review AS SELECT a.id AS a, b.id AS b, x, y FROM a LEFT JOIN b ON b.a = a.id",
        {"[1,1]": "honeycomb\n\ncomet", "[1,2]": "honeycomb\n\nferry", "[2,null]": "bank\n\n"},
        "DELETE FROM b WHERE id = 2; UPDATE a SET x = 'walnut' WHERE id = 2",
        {"[1,1]": "honeycomb\n\ncomet", "[2,null]": "walnut\n\n"},
        (0, 1, 1),
        text=["x", "y"],
        options={"key": ["a", "b"]},
    ),
    "a virtual table": Case(
        "CREATE VIRTUAL TABLE review USING fts5(id UNINDEXED, body); " + THREE.format("'1'", "'2'", "3"),
        {"1": "a honeycomb", "2": "the bank", 3: "a comet"},
        CHANGED.format("id", "'1'", "'2'") + "INSERT INTO review VALUES (1, 'a ferry')",
        {"1": "walnut bread", 3: "a comet", 1: "a ferry"},
        (1, 1, 1),
        options={"key": ["id"]},
    ),
    "a virtual table by its rowid": Case(
        "CREATE VIRTUAL TABLE review USING fts5(id UNINDEXED, body); " + THREE.format("'1'", "'2'", "3"),
        {1: "a honeycomb", 2: "the bank", 3: "a comet"},
        CHANGED.format("id", "'1'", "'2'"),
        {1: "walnut bread", 3: "a comet"},
        (0, 1, 1),
        options={"key": "rowid"},
    ),
    "a template": Case(
        "CREATE TABLE review(id INTEGER PRIMARY KEY, title TEXT, body TEXT, stars INT, score REAL);"
        "INSERT INTO review VALUES (1, 'Honeycomb', 'was {title} good', 5, 0.5), (2, NULL, '', NULL, NULL), "
        "(3, NULL, NULL, NULL, NULL)",
        {1: "Honeycomb (5, 0.5): {x was {title} good} Honeycomb", 2: " (, ): {x } ", 3: None},
        "UPDATE review SET title = 'Bank' WHERE id = 3; UPDATE review SET stars = 4 WHERE id = 1;"
        "UPDATE review SET title = '' WHERE id = 2",
        {1: "Honeycomb (4, 0.5): {x was {title} good} Honeycomb", 2: " (, ): {x } ", 3: "Bank (, ): {x } Bank"},
        (0, 2, 0),
        text="{TITLE} ({stars}, {score}): {x {Body}} {title}",
    ),
    "hostile names": Case(
        'CREATE TABLE "{changed} se""lect; \'🚋" ("{key} or""der" INTEGER PRIMARY KEY, "gr""oup" TEXT, "{moved}" TEXT);'
        "INSERT INTO \"{changed} se\"\"lect; '🚋\" VALUES (1, 'a honeycomb', 'x'), (2, 'the bank', 'y')",
        {1: "a honeycomb", 2: "the bank"},
        'UPDATE "{changed} se""lect; \'🚋" SET "gr""oup" = \'a comet\' WHERE "{key} or""der" = 1',
        {1: "a comet", 2: "the bank"},
        (0, 1, 0),
        table="{changed} SE\"lect; '🚋",
        text='gr"OUP',
        options={"filters": ["{MOVED}"]},
    ),
    "names that are keywords": Case(
        'CREATE TABLE "order" ("group" TEXT PRIMARY KEY, "select" TEXT, "from" TEXT);'
        "INSERT INTO \"order\" VALUES ('null', 'a honeycomb', 'x')",
        {"null": "a honeycomb"},
        "INSERT INTO \"order\" VALUES ('table', 'a comet', 'x')",
        {"null": "a honeycomb", "table": "a comet"},
        (1, 0, 0),
        table="order",
        text="select",
        options={"filters": ["from"]},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_kind_of_source(case, db, write):
    """What another client puts there is searchable after sync, no more and no less; twice is once; drop leaves it."""
    write(case.made)
    db.create_index("reviews", case.table, case.text, **case.options)
    assert_in_step(db, "reviews", case.before)
    write(case.changed)
    report = db.sync("reviews")
    assert changes(report) == case.counts
    assert_in_step(db, "reviews", case.after)
    encoded = db.embedder.texts_encoded
    for again in (db.sync("reviews"), db.sync("reviews", compare=True)):
        assert (*changes(again), again.tokens, again.unreadable) == (0, 0, 0, 0, [])
    assert db.embedder.texts_encoded == encoded
    # Each hit has its row: what is stored as its key finds it, and filters do.
    hits = db.search("honeycomb", top_n=25)
    assert {hit.source_id for hit in hits} == {key for key, text in case.after.items() if (text or "").strip()}
    assert db.search("honeycomb", top_n=25, filter="1 = 1") == hits
    assert db.search("honeycomb", filter="1 = 0") == []


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_dropped_index_leaves_nothing_and_takes_nothing(case, db, write):
    """After drop_index the schema and the rows are the user's as they were."""
    write(case.made)
    schema = "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'sqlrag%' AND name <> 'sqlite_sequence'"
    name = '"' + case.table.replace('"', '""') + '"'
    before = db.execute(schema).fetchall(), db.execute(f"SELECT * FROM {name}").fetchall()
    db.create_index("reviews", case.table, case.text, **case.options)
    assert db.execute(f"SELECT * FROM {name}").fetchall() == before[1]
    db.drop_index("Reviews")
    assert db.indexes() == []
    assert (db.execute(schema).fetchall(), db.execute(f"SELECT * FROM {name}").fetchall()) == before
    assert db.execute("SELECT key FROM sqlrag_meta WHERE key LIKE '%reviews%'").fetchall() == []
    write(case.changed)  # no trigger misses its queue
    db.create_index("reviews", case.table, case.text, **case.options)
    assert_in_step(db, "reviews", case.after)


def test_vacuum_that_renumbers_rows(db, write):
    """VACUUM gives rows without a key of their own other rowids: afterwards each chunk is that of its row again."""
    write("CREATE TABLE review(body TEXT); INSERT INTO review VALUES ('honeycomb'), ('bank'), ('comet'), ('ferry')")
    db.create_index("reviews", "review", "body")
    write("DELETE FROM review WHERE body = 'honeycomb'; UPDATE review SET body = 'walnut' WHERE body = 'bank'")
    write("VACUUM")
    assert write.rows("SELECT rowid, body FROM review") == [[1, "walnut"], [2, "comet"], [3, "ferry"]]
    write("INSERT INTO review VALUES ('bank')")
    db.sync()
    assert_in_step(db, "reviews", {1: "walnut", 2: "comet", 3: "ferry", 4: "bank"})
    write("DELETE FROM review WHERE body = 'walnut'; VACUUM")
    db.sync()
    assert_in_step(db, "reviews", {1: "comet", 2: "ferry", 3: "bank"})


def test_vacuum_leaves_a_key_alone(db, write):
    """A table with a key is not compared after a VACUUM: its key is what it was."""
    write("CREATE TABLE review(id INTEGER PRIMARY KEY, body TEXT); INSERT INTO review VALUES (3, 'bank'), (9, 'comet')")
    db.create_index("reviews", "review", "body")
    write("VACUUM")
    assert db.sync().unchanged == 0
    assert_in_step(db, "reviews", {3: "bank", 9: "comet"})


# Texts

TEXTS = {
    "NULL": ("NULL", None),
    "empty": ("''", ""),
    "blank": ("' \t\n'", " \t\n"),
    "an integer": ("42", "42"),
    "a fractional number": ("-0.5", "-0.5"),
    "emoji": ("'👩‍👩‍👧‍👦 honeycomb 🚋'", "👩‍👩‍👧‍👦 honeycomb 🚋"),
    "NUL": ("'honeycomb' || char(0) || 'bank'", "honeycomb\0bank"),
    "what is not UTF-8": ("CAST(x'686f6e6579ff20636f6d6574' AS TEXT)", "honey\ufffd comet"),
    "a lone surrogate in UTF-8": ("CAST(x'eda080' AS TEXT)", "\ufffd\ufffd\ufffd"),
}


# What is not UTF-8 can be no UTF-16 either way.
IN_ENCODINGS = {
    f"{name}, {encoding}": (expression, text, encoding)
    for name, (expression, text) in TEXTS.items()
    for encoding in ("UTF-8", "UTF-16le", "UTF-16be")
    if encoding == "UTF-8" or "x'" not in expression
}


@pytest.mark.parametrize(("expression", "text", "encoding"), IN_ENCODINGS.values(), ids=IN_ENCODINGS)
def test_every_kind_of_text(expression, text, encoding, db, write):
    """Whatever SQLite can hold in a text column is indexed as the text that it shows, and found the same again."""
    write(f"PRAGMA encoding = '{encoding}'; CREATE TABLE review(id INTEGER PRIMARY KEY, body)")
    write(f"INSERT INTO review VALUES (1, {expression}), (2, 'ünder the bank')")
    db.create_index("reviews", "review", "body")
    assert_in_step(db, "reviews", {1: text, 2: "ünder the bank"})
    write(f"UPDATE review SET body = CASE id WHEN 1 THEN 'a bank' ELSE {expression} END")
    db.sync()
    assert_in_step(db, "reviews", {1: "a bank", 2: text})
    assert changes(db.sync(compare=True)) == (0, 0, 0)


def test_texts_of_a_utf16_database_that_are_none(db, write):
    """In a UTF-16 database too, bytes that are no text are mended."""
    write("PRAGMA encoding = 'UTF-16le'; CREATE TABLE review(id INTEGER PRIMARY KEY, body TEXT)")
    write("INSERT INTO review VALUES (1, CAST(x'00d8' AS TEXT)), (2, CAST(x'610062' AS TEXT))")
    db.create_index("reviews", "review", "body")
    assert db.execute("SELECT source_id FROM reviews_rows").fetchall() == [(1,), (2,)]
    assert db.check() == []
    assert changes(db.sync(compare=True)) == (0, 0, 0)


def test_a_blob_is_no_text(db, write):
    """A BLOB in a text column is named in the report, with its column; what was indexed before leaves."""
    write("CREATE TABLE review(id TEXT PRIMARY KEY, title TEXT, body TEXT)")
    write("INSERT INTO review VALUES ('a', 'x', x'ff'), ('b', 'y', 'bank')")
    report = db.create_index("reviews", "review", ["title", "body"])
    (unreadable,) = report.unreadable
    assert (unreadable.source_id, "body" in unreadable.reason, "BLOB" in unreadable.reason) == ("a", True, True)
    assert_in_step(db, "reviews", {"a": None, "b": "y\n\nbank"})
    write("UPDATE review SET body = CASE id WHEN 'a' THEN 'comet' ELSE x'00' END")
    report = db.sync()
    assert [row.source_id for row in report.unreadable] == ["b"]
    assert_in_step(db, "reviews", {"a": "x\n\ncomet", "b": None})


def test_a_long_text_is_several_chunks_of_the_rendered_text(db, write):
    """Offsets count in the text as the template makes it; a change at its end replaces all of its chunks."""
    sentences = " ".join(f"Sentence {number} tells of 🐝 and the {number}th comet." for number in range(60))
    write("CREATE TABLE review(id INTEGER PRIMARY KEY, title TEXT, body TEXT)")
    write("INSERT INTO review VALUES (1, 'Zürich', ?)", sentences)
    report = db.create_index("reviews", "review", "# {title}\n\n{body}", max_tokens=50)
    assert report.chunks > 10
    assert_in_step(db, "reviews", {1: f"# Zürich\n\n{sentences}"})
    write("UPDATE review SET body = body || ' The end.'")
    assert db.sync().changed == 1
    assert_in_step(db, "reviews", {1: f"# Zürich\n\n{sentences} The end."})
    write("UPDATE review SET body = 'short'")
    assert db.sync().chunks == 1
    assert_in_step(db, "reviews", {1: "# Zürich\n\nshort"})


# Keys

NO_KEYS = {
    "NULL": ("id TEXT PRIMARY KEY", "NULL", "NULL"),
    "no UTF-8": ("id TEXT PRIMARY KEY", "CAST(x'ff' AS TEXT)", "UTF-8"),
    "NULL in a composite key": ("id TEXT, n INT DEFAULT 1, PRIMARY KEY (id, n)", "NULL", "NULL"),
    "a BLOB in a composite key": ("id TEXT, n INT DEFAULT 1, PRIMARY KEY (id, n)", "x'ff'", "BLOB (id)"),
    "no UTF-8 in a composite key": ("id TEXT, n INT DEFAULT 1, PRIMARY KEY (id, n)", "CAST(x'ff' AS TEXT)", "UTF-8"),
}


@pytest.mark.parametrize(("key", "value", "reason"), NO_KEYS.values(), ids=NO_KEYS)
def test_rows_whose_key_names_none(key, value, reason, db, write):
    """A row that its key cannot name again is left out and the report says so; the other rows are indexed."""
    good = "bank" if "n INT" not in key else '["bank",1]'
    write(f"CREATE TABLE review(body TEXT, {key}); INSERT INTO review(body, id) VALUES ('the bank', 'bank')")
    write(f"INSERT INTO review(body, id) VALUES ('a comet', {value})")
    report = db.create_index("reviews", "review", "body")
    assert [reason in row.reason for row in report.unreadable] == [True]
    assert_in_step(db, "reviews", {good: "the bank"})
    if value == "NULL":
        write("INSERT INTO review(body, id) VALUES ('a ferry', NULL)")  # a UNIQUE constraint takes several
        assert [reason in row.reason for row in db.sync().unreadable] == [True]
    db.sync(compare=True)
    assert_in_step(db, "reviews", {good: "the bank"})
    assert [hit.source_id for hit in db.search("comet", "reviews", filter="body <> ''")] == [good]
    write("UPDATE review SET id = 'x' WHERE body = 'a comet'")
    assert changes(db.sync()) == (1, 0, 0)


def test_a_composite_key_of_any_values(db, write):
    """Fractional numbers and what looks like them are told apart, whichever SQLite has written them."""
    write("CREATE TABLE review(a, b INT, body TEXT, PRIMARY KEY (a, b))")
    values = ["0.1 + 0.2", "0.3", "0.1", "1e22", "1e-7", "2.0", "''", "-1", "'-1'", "'null'", "-9e999", "'🚋'", "'{}'"]
    write(f"INSERT INTO review VALUES {', '.join(f'({value}, 1, {i})' for i, value in enumerate(values))}")
    db.create_index("reviews", "review", "text {body} of the bank", filters=["body"])
    texts = lambda: sorted(text for (text,) in db.execute("SELECT text FROM reviews"))  # noqa: E731
    assert texts() == sorted(f"text {number} of the bank" for number in range(len(values)))
    write("UPDATE review SET body = body + 100")
    assert changes(db.sync()) == (0, len(values), 0)
    assert texts() == sorted(f"text {number + 100} of the bank" for number in range(len(values)))
    assert db.check() == []
    report = db.sync(compare=True)
    assert (*changes(report), report.unreadable) == (0, 0, 0, [])
    hits = db.search("bank", top_n=25, filter="b = 1")
    assert [hit.text for hit in hits] == [f"text {hit.metadata['body']} of the bank" for hit in hits]
    assert len(hits) == len(values)
    write("DELETE FROM review")
    assert db.sync().removed == len(values)
    assert_in_step(db, "reviews", {})


def test_a_key_of_a_view_that_names_several_rows(db, write):
    """A stated key that is no key is a clear error, at the start and whenever it comes to be; nothing is left over."""
    write("CREATE TABLE thing(id INT, body TEXT); INSERT INTO thing VALUES (1, 'bank'), (1, 'comet'), (2, 'ferry')")
    write("CREATE VIEW review AS SELECT * FROM thing")
    with pytest.raises(errors.InputError) as error:
        db.create_index("reviews", "review", "body", key="id")
    assert_says(error.value, errors.InputError, "key", "'id'", "review", "1")
    assert db.indexes() == []
    write("DELETE FROM thing WHERE body = 'bank'")
    db.create_index("reviews", "review", "body", key="id")
    write("INSERT INTO thing VALUES (2, 'walnut')")
    with pytest.raises(errors.DatabaseError) as error:
        db.sync()
    assert_says(error.value, errors.DatabaseError, "reviews", "review", "key 2")


def test_a_bounded_sync_of_a_view_queues_a_row_once(db, write):
    """However often a large change is brought in by parts, its rows stand in the queue once."""
    from sqlrag.engines.changed_rows import Limits
    from sqlrag.indexing.table_indexes import sync

    write("CREATE TABLE thing(id INTEGER PRIMARY KEY, body TEXT); CREATE VIEW review AS SELECT * FROM thing")
    db.create_index("reviews", "review", "body", key="id")
    write(
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 10) "
        "INSERT INTO thing SELECT i, 'bank ' || i FROM n"
    )
    for left in (8, 6, 4):
        assert sync(db._engine, "reviews", compare=True, limits=Limits(rows=2)).backlog == left
        assert db.execute("SELECT count(*) FROM reviews_queue").fetchall() == [(left,)]
    db.sync()
    assert_in_step(db, "reviews", {number: f"bank {number}" for number in range(1, 11)})


# Several indexes, definitions

REVIEW = """
    CREATE TABLE review(id INTEGER PRIMARY KEY, title TEXT, body TEXT, lang TEXT, stars INT, data BLOB);
    INSERT INTO review VALUES (1, 'The honeycomb', 'It is full of wax.', 'en', 5, x'00'),
                              (2, 'Die Bank', 'Sie hat kein Geld.', 'de', 1, NULL),
                              (3, 'A comet', 'It came by night.', 'en', 3, 'text');
"""


def test_two_indexes_over_one_table(db, write):
    """Each has its own text and its own queue; dropping one leaves the other."""
    write(REVIEW)
    db.create_index("titles", "review", "title")
    db.create_index("titles_source_x", "review", "body")
    db.sync()
    triggers = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'review' ORDER BY name"
    made = db.execute(triggers).fetchall()
    assert db.sync().unchanged == 0
    assert db.execute(triggers).fetchall() == made
    write("UPDATE review SET body = 'It left.' WHERE id = 3; UPDATE review SET title = 'Ein Komet' WHERE id = 3")
    assert db.sync("titles").changed == 1
    assert db.execute("SELECT text FROM titles_source_x WHERE source_id = 3").fetchall() == [("It came by night.",)]
    assert db.sync().changed == 1
    db.drop_index("titles")
    write("UPDATE review SET body = 'It is back.' WHERE id = 3")
    assert db.sync().changed == 1
    assert db.execute("SELECT text FROM titles_source_x WHERE source_id = 3").fetchall() == [("It is back.",)]
    with pytest.raises(errors.UnknownIndexError):
        db.drop_index("titles")


def test_triggers_of_the_users_own_are_left_alone(db, write):
    """A trigger whose name only looks like ours is not dropped; one that has the very name is an error."""
    write(REVIEW)
    write(
        "CREATE TABLE audit(id INT);"
        "CREATE TRIGGER reviews_source_audit AFTER INSERT ON review BEGIN INSERT INTO audit VALUES (new.id); END"
    )
    db.create_index("reviews", "review", "body")
    write("INSERT INTO review(body) VALUES ('the ferry')")
    assert db.sync().added == 1
    assert write.rows("SELECT id FROM audit") == [[4]]
    db.drop_index("reviews")
    write("INSERT INTO review(body) VALUES ('the walnut')")
    assert write.rows("SELECT id FROM audit") == [[4], [5]]
    write("CREATE TRIGGER reviews_source_insert AFTER INSERT ON review BEGIN INSERT INTO audit VALUES (-1); END")
    with pytest.raises(errors.DatabaseError) as error:
        db.create_index("reviews", "review", "body")
    assert_says(error.value, errors.DatabaseError, "reviews_source_insert", "another name")
    assert db.indexes() == []


def test_making_an_index_again(db, write):
    """The same definition goes on where it was; another one is an error that says what it is made of."""
    write(REVIEW)
    assert db.create_index("reviews", "review", ["title", "body"], filters=["lang"]).added == 3
    write("INSERT INTO review(title) VALUES ('The ferry')")
    again = db.create_index("Reviews", "REVIEW", ["Title", "BODY"], filters=["LANG"], key="ID")
    assert (again.added, again.unchanged) == (1, 0)
    others = {
        "text": {"text": "title"},
        "filters": {"filters": []},
        "max_tokens": {"max_tokens": 30},
        "tokenizer": {"tokenizer": "trigram"},
        "vectors": {"vectors": "int8"},
    }
    for what, other in others.items():
        with pytest.raises(errors.InputError) as error:
            db.create_index("reviews", **{"table": "review", "text": ["title", "body"], "filters": ["lang"], **other})
        assert_says(error.value, errors.InputError, "'reviews'", what)
    write("CREATE VIEW other AS SELECT * FROM review")
    with pytest.raises(errors.InputError) as error:
        db.create_index("reviews", "other", ["title", "body"], filters=["lang"], key="id")
    assert_says(error.value, errors.InputError, "'reviews'", "review")
    assert db.indexes() == ["reviews"]


def test_resuming_after_an_interruption(db, write):
    """What was committed before a stop stays; sync, or the same call, does the rest."""
    write("CREATE TABLE review(id INTEGER PRIMARY KEY, body TEXT)")
    write(
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 300) "
        "INSERT INTO review SELECT i, 'bank ' || i FROM n"
    )

    def stop(_progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.create_index("reviews", "review", "body", progress=stop)
    info = db.info()[0]
    assert (info.chunks, info.backlog) == (256, 44)
    assert db.create_index("reviews", "review", "body").added == 44
    assert_in_step(db, "reviews", {number: f"bank {number}" for number in range(1, 301)}, vectors=False)


BAD = {
    "no such table": ({"table": "revue"}, ("'revue'", "review")),
    "a table that is no name": ({"table": 5}, ("5", "review")),
    "no such column": ({"text": "boody"}, ("'boody'", "review", "body")),
    "no such column in a template": ({"text": "{title} {boody}"}, ("'boody'", "body")),
    "no such column in a list": ({"text": ["title", "boody"]}, ("'boody'", "body")),
    "an empty text": ({"text": ""}, ("text", "''")),
    "a template of nothing": ({"text": "{}"}, ("text", "'{}'")),
    "an empty list": ({"text": []}, ("text", "[]")),
    "a text that is none": ({"text": 5}, ("text", "5")),
    "a list of what is no column": ({"text": ["title", 5]}, ("text", "5")),
    "no such filter": ({"filters": ["year"]}, ("filters", "'year'", "lang")),
    "a filter that is no list": ({"filters": "lang"}, ("filters", "'lang'", "list")),
    "filters of what is no column": ({"filters": [5]}, ("filters", "5")),
    "no such key": ({"table": "seen", "key": "number"}, ("key", "'number'", "id")),
    "no key": ({"table": "seen"}, ("seen", "view", "key=")),
    "an empty key": ({"table": "seen", "key": []}, ("seen", "view", "key=")),
    "another key than the table's": ({"key": "lang"}, ("key", "'lang'", "id")),
    "a name that is none": ({"name": "re views"}, ("'re views'", "name")),
    "a column with braces": ({"table": "braces", "text": "a{b}"}, ("'a{b}'", "rename")),
    "a column with braces in a list": ({"table": "braces", "text": ["b", "a{b}"]}, ("'a{b}'", "rename")),
    "a key with a bracket": ({"table": "brackets"}, ("'[x]'", "rename")),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD)
def test_bad_input(arguments, words, db, write):
    """What cannot be is said by name, with its value and what there is; nothing is made."""
    write(
        REVIEW + 'CREATE VIEW seen AS SELECT * FROM review; CREATE TABLE braces(id INTEGER PRIMARY KEY, "a{b}", b);'
        'CREATE TABLE brackets("[x]" INTEGER PRIMARY KEY, body)'
    )
    schema = db.execute("SELECT * FROM sqlite_schema").fetchall()
    with pytest.raises(errors.InputError) as error:
        db.create_index(**{"name": "reviews", "table": "review", "text": "body", **arguments})
    assert_says(error.value, errors.InputError, *words)
    assert db.execute("SELECT * FROM sqlite_schema").fetchall() == schema


@pytest.mark.parametrize("name", ["review", "REVIEW", "audit"])
def test_an_index_named_like_a_table(name, db, write):
    """A table that has the name of the index or of one of its tables is an error that says so; nothing is made."""
    write(REVIEW + "CREATE TABLE audit_queue(x)")
    schema = db.execute("SELECT * FROM sqlite_schema").fetchall()
    with pytest.raises(errors.DatabaseError) as error:
        db.create_index(name, "review", "body")
    assert_says(error.value, errors.DatabaseError, "another name", repr(name))
    assert db.execute("SELECT * FROM sqlite_schema").fetchall() == schema


def test_an_index_over_a_table_is_no_index_over_documents(db, write, tmp_path):
    """Documents are not ingested into it, and what is ingested is not synchronised: the errors say what to do."""
    write(REVIEW)
    db.create_index("reviews", "review", "body")
    (tmp_path / "note.txt").write_text("a walnut", encoding="utf-8")
    with pytest.raises(errors.InputError) as error:
        db.ingest(tmp_path / "note.txt", "reviews")
    assert_says(error.value, errors.InputError, "'reviews'", "review", "another index")
    db.ingest(tmp_path / "note.txt", "notes")
    with pytest.raises(errors.InputError) as error:
        db.sync("notes")
    assert_says(error.value, errors.InputError, "'notes'", "ingest")
    write("UPDATE review SET body = 'a bank'")
    assert db.sync().changed == 3
    with pytest.raises(errors.InputError):
        db.create_index("notes", "review", "body")
    with pytest.raises(errors.UnknownIndexError):
        db.sync("revues")
    db.drop_index("notes")
    assert db.execute("SELECT count(*) FROM documents").fetchall() == [(0,)]


# What is found


def test_hits_carry_their_row(db, write):
    """A hit has its row's key and the columns of `filters`, as they are now."""
    write(REVIEW)
    db.create_index("reviews", "review", "{title}: {body}", filters=["stars", "lang", "data"])
    hit = db.search("honeycomb and wax", top_n=1)[0]
    assert (hit.source_id, hit.text, hit.uri, hit.title) == (1, "The honeycomb: It is full of wax.", None, None)
    assert (hit.metadata["stars"], hit.metadata["lang"]) == (5, "en")
    write("UPDATE review SET stars = 4 WHERE id = 1")
    assert db.search("honeycomb and wax", top_n=1)[0].metadata["stars"] == 4
    write("DELETE FROM review WHERE id = 1")
    assert 1 not in [hit.source_id for hit in db.search("honeycomb and wax")]


def test_search_gives_the_key_whatever_its_type(db, write):
    """The rows of `search` join the table that was indexed, by a key of whole numbers or of text."""
    write(REVIEW)
    write("CREATE TABLE page(slug VARCHAR PRIMARY KEY, body TEXT)")
    write("INSERT INTO page VALUES ('bees', 'a honeycomb is full of wax'), ('tax', 'the tax year ends in April')")
    db.create_index("reviews", "review", "title")
    sql = "SELECT {} FROM search('{}', 'honeycomb', 3, 1) AS hit JOIN {} AS row ON row.{} = hit.source_id"
    assert db.execute(sql.format("row.id", "reviews", "review", "id")).fetchall() == [(1,)]
    db.create_index("pages", "page", "body")
    assert db.execute(sql.format("slug", "pages", "page", "slug")).fetchall() == [("bees",)]
    assert db.execute("SELECT source_id FROM search('pages', 'honeycomb', 3, 1)").fetchall() == [("bees",)]
    assert db.execute(sql.format("row.id", "reviews", "review", "id")).fetchall() == [(1,)]
    db.drop_index("pages")
    assert db.execute("SELECT source_id FROM search('reviews', 'honeycomb', 3, 1)").fetchall() == [(1,)]


def test_what_is_no_text_in_a_filters_column(db, write):
    """A BLOB is there in hexadecimal digits; what is not UTF-8 is a clear error, as in any statement."""
    write(REVIEW)
    db.create_index("reviews", "review", "title", filters=["data"])
    assert {hit.source_id: hit.metadata["data"] for hit in db.search("bank")} == {1: "00", 2: None, 3: "text"}
    write("UPDATE review SET data = CAST(x'ff' AS TEXT) WHERE id = 2")
    with pytest.raises(errors.SQLError) as error:
        db.search("bank")
    assert_says(error.value, errors.SQLError, "UTF-8", "CAST", "BLOB")


def test_filters_are_over_the_columns_of_the_table(db, write):
    """Any column of the source filters, before the top-k, whether or not the index was made with it."""
    write(REVIEW + "ALTER TABLE review ADD COLUMN shout TEXT AS (upper(lang))")
    db.create_index("reviews", "review", "title")
    assert {hit.source_id for hit in db.search("comet", top_k=1, top_n=1, filter="lang = 'de'")} == {2}
    assert {hit.source_id for hit in db.search("bank", filter="stars >= 3")} == {1, 3}
    assert {hit.source_id for hit in db.search("bank", filter="\"shout\" = 'EN'")} == {1, 3}
    rows = db.execute("SELECT id FROM text_top_k('reviews', 'bank', 5, 'stars < 3')").fetchall()
    assert db.execute("SELECT source_id FROM reviews WHERE id = ?", rows[0]).fetchall() == [(2,)]
    with pytest.raises(errors.FilterError) as error:
        db.search("bank", filter="metadata IS NULL")
    assert_says(error.value, errors.FilterError, "metadata", "review", "lang", "shout")


def test_chunks_join_to_the_rows(db, write):
    """The statement of the README, with the user's own table in it."""
    write(REVIEW)
    db.create_index("reviews", "review", "{title}: {body}")
    sql = """
        SELECT   r.id, r.stars, substr(r.title || ': ' || r.body, c.start_char + 1, c.end_char - c.start_char) = c.text,
                 rerank_score(:q, c.text) AS score
        FROM     vector_top_k('reviews', embed(:q), 25) AS hit
        JOIN     reviews AS c ON c.id = hit.id
        JOIN     review AS r ON r.id = c.source_id
        ORDER BY score DESC
        LIMIT    3
    """
    rows = db.execute(sql, {"q": "what is full of wax?"}).fetchall()
    assert rows[0][:3] == (1, 5, 1)
    assert [row[2] for row in rows] == [1, 1, 1]


def test_a_read_only_database_is_read(path, db, write):
    """A reader finds what is indexed; what would write says that it is read-only."""
    write(REVIEW)
    db.create_index("reviews", "review", "title")
    write("UPDATE review SET title = 'The ferry' WHERE id = 1")
    with sqlrag.connect(path, read_only=True) as reader:
        assert reader.search("honeycomb", top_n=1)[0].source_id == 1
        assert reader.info()[0].backlog == 1
        for write_it in (
            reader.sync,
            lambda: reader.drop_index("reviews"),
            lambda: reader.create_index("bodies", "review", "body"),
        ):
            with pytest.raises(errors.ReadOnlyError):
                write_it()
