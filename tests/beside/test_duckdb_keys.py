"""An index on DuckDB whose table has keys of every kind: kept exactly, under every setting, and of one type."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import duckdb
import pytest

import sqlrag
from sqlrag import errors

TEXTS = ("It rains all night.", "Bees dance in the hive.", "Ships sail in the morning.")
Q = "what do insects do?"


@pytest.fixture
def db(tmp_path):
    with sqlrag.connect(tmp_path / "keys.duckdb") as db:
        yield db


def made(db: sqlrag.Database, key_type: str, *keys: str) -> None:
    """Make a table of these keys, given as SQL, and its index."""
    db.execute(f"CREATE OR REPLACE TABLE note (k {key_type} PRIMARY KEY, body VARCHAR, made TIMESTAMPTZ)")
    filled(db, *keys)
    db.create_index("notes", "note", "body", filters=["made"])


def filled(db: sqlrag.Database, *keys: str) -> None:
    for key, text in zip(keys, TEXTS, strict=False):
        db.execute(f"INSERT INTO note VALUES ({key}, '{text}', '2024-05-01 12:00:00+02')")


def hits(db: sqlrag.Database) -> dict[str, object]:
    """Return the key of each text that a search finds."""
    return {hit.text: hit.source_id for hit in db.search(Q, "notes")}


def test_f5_a_table_made_anew_with_keys_of_another_type(db):
    """F5: one error says so, check finds it, and repair makes the index anew; '007' and '7' stay two keys."""
    made(db, "INTEGER", "1", "7")
    db.execute("CREATE OR REPLACE TABLE note (k VARCHAR PRIMARY KEY, body VARCHAR, made TIMESTAMPTZ)")
    filled(db, "'007'", "'7'")
    said = r"'notes' knows rows of note by k BIGINT, and the key of that table is k VARCHAR now.*drop_index\('notes'\)"
    for call in (db.sync, db.backlog):
        with pytest.raises(errors.DatabaseError, match=said):
            call()
    with pytest.warns(errors.BacklogWarning, match=said):
        assert set(hits(db)) == set(TEXTS[:2])
    ((problem,),) = [db.check()]
    assert "is k VARCHAR now: sqlrag check --repair makes the index anew" in problem
    assert db.info()[0].backlog is None
    assert db.repair() == []
    assert hits(db) == {TEXTS[0]: "007", TEXTS[1]: "7"}
    assert db.sync().added == 0
    assert db.check() == []


def test_f5_a_table_made_anew_with_numbers_for_texts(db):
    """F5: the other way round, with a text that is no number among the old keys, and a filter."""
    made(db, "VARCHAR", "'007'", "'seven'")
    db.execute("CREATE OR REPLACE TABLE note (k INTEGER PRIMARY KEY, body VARCHAR, made TIMESTAMPTZ)")
    filled(db, "7", "8")
    with pytest.raises(errors.DatabaseError, match="by k VARCHAR, and the key of that table is k BIGINT now"):
        db.sync()
    with pytest.warns(errors.BacklogWarning, match="is k BIGINT now"):
        found = db.search(Q, "notes", filter="k > 6")
    assert [hit.source_id for hit in found] == ["007"]
    db.drop_index("notes")
    db.create_index("notes", "note", "body")
    assert hits(db) == {TEXTS[0]: 7, TEXTS[1]: 8}


def test_f5_a_table_made_anew_with_another_key(db):
    """F5: another column is the key now; nothing is lost, and the error says what to do."""
    db.execute("CREATE TABLE note (k INTEGER PRIMARY KEY, other INTEGER, body VARCHAR)")
    db.execute(f"INSERT INTO note VALUES (1, 5, '{TEXTS[0]}')")
    db.create_index("notes", "note", "body")
    db.execute("CREATE OR REPLACE TABLE note (k INTEGER, other INTEGER PRIMARY KEY, body VARCHAR)")
    db.execute(f"INSERT INTO note VALUES (1, 5, '{TEXTS[0]}')")
    for call in (db.sync, db.repair):
        with pytest.raises(errors.DatabaseError, match="by k BIGINT, and the key of that table is other BIGINT now"):
            call()


EXACT = {
    "VARCHAR": (("'007'", "'7'", "'a'"), ("007", "7", "a")),
    "VARCHAR COLLATE NOCASE": (("'a'", "'A'", "'é'"), ("a", "A", "é")),
    "VARCHAR COLLATE NOACCENT": (("'e'", "'é'", "'E'"), ("e", "é", "E")),
    "HUGEINT": (("170141183460469231731687303715884105727", "1", "-1"), (str(2**127 - 1), "1", "-1")),
    "UBIGINT": (("18446744073709551615", "1", "2"), (str(2**64 - 1), "1", "2")),
    "DECIMAL(38, 2)": (("0.10", "10.00", f"{10**30}.01"), ("0.10", "10.00", f"{10**30}.01")),
    "DOUBLE": (("0.1", "1e300", "0.30000000000000004"), ("0.1", "1e+300", "0.30000000000000004")),
    "DATE": (("'2024-02-29'", "'0044-03-15 (BC)'", "'infinity'"), ("2024-02-29", "0044-03-15 (BC)", "infinity")),
    "UUID": ((f"'{'0' * 8}-0000-0000-0000-{'0' * 12}'",), ("00000000-0000-0000-0000-000000000000",)),
    "TIMESTAMPTZ": (
        ("'2024-05-01 12:00:00.5+02'", "'0044-03-15 (BC) 10:00:00+00'", "'-infinity'"),
        ("2024-05-01 10:00:00.5+00", "0044-03-15 (BC) 10:00:00+00", "-infinity"),
    ),
    "TIMESTAMP": (("'2024-05-01 12:00:00'", "'infinity'"), ("2024-05-01 12:00:00", "infinity")),
    "TIME WITH TIME ZONE": (("'12:00:00+02'", "'12:00:00+01'"), ("12:00:00+02", "12:00:00+01")),
    "BLOB": ((r"'\x00\xFF'", "'ab'"), (r"\x00\xFF", "ab")),
    "BOOLEAN": (("true", "false"), ("true", "false")),
}


@pytest.mark.parametrize("key_type", EXACT)
def test_f5_f6_keys_are_kept_exactly(db, key_type):
    """F5, F6: each key is found as it is, belongs to its own row, and changes nothing when it is looked at again."""
    keys, expected = EXACT[key_type]
    made(db, key_type, *keys)
    assert hits(db) == dict(zip(TEXTS, expected, strict=False))
    assert all(hit.metadata == {"made": "2024-05-01 10:00:00+00"} for hit in db.search(Q, "notes"))
    assert db.sync().unchanged == 0
    db.execute("DELETE FROM note WHERE body = ?", [TEXTS[0]])
    db.execute("UPDATE note SET body = 'Ants dance.' WHERE body = ?", [TEXTS[1]])
    report = db.sync()
    assert (report.removed, report.changed, report.added) == (1, 1 if len(keys) > 1 else 0, 0)
    assert db.check() == []
    assert set(hits(db).values()) == set(expected[1:])


LOOK = """
import json, sys, sqlrag
with sqlrag.connect(sys.argv[1], sync_rows=0) as db:
    db.execute("SET TimeZone = 'Asia/Tokyo'")
    for setting in sys.argv[2:]:
        db.execute(setting)
    hits = sorted((hit.source_id, hit.metadata["made"], hit.text) for hit in db.search("insects", "notes", top_n=25))
    report = db.sync()
    print(json.dumps([hits, db.backlog(), report.tokens, report.added, report.removed, db.check()]))
"""


def test_f6_another_time_zone(db, tmp_path):
    """F6: a process in another time zone, with every setting that could matter, embeds nothing and finds everything."""
    columns = "k TIMESTAMPTZ, other VARCHAR, made TIMESTAMPTZ, ats TIMESTAMPTZ[], PRIMARY KEY (k, other)"
    db.execute(f"CREATE TABLE note ({columns})")
    db.execute(
        "INSERT INTO note SELECT '2024-05-01 12:00:00+02', other, '2024-05-01 12:00:00+02', ['2024-05-01 12:00:00+02'] "
        "FROM (VALUES ('a'), ('A'), ('e'), ('é')) AS one (other)"
    )
    db.create_index("notes", "note", "{made} and {ats}: {other}", filters=["made"])
    path = db.path
    db.close()
    settings = [
        "SET default_collation = 'nocase'", "SET default_order = 'desc'", "SET default_null_order = 'nulls_first'",
        "SET integer_division = true", "SET old_implicit_casting = true", "SET Calendar = 'buddhist'",
        "SET preserve_insertion_order = false", "SET ieee_floating_point_ops = false",
    ]  # fmt: skip
    found = []
    for zone, given in (("America/New_York", []), ("Asia/Kolkata", settings), ("UTC", [])):
        command = [sys.executable, "-c", LOOK, path, *given]
        done = subprocess.run(command, env=os.environ | {"TZ": zone}, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
        assert "BacklogWarning" not in done.stderr
    assert found[0] == found[1] == found[2]
    rows, *rest = found[0]
    assert rest == [{}, 0, 0, 0, []]
    when = "2024-05-01 10:00:00+00"
    text = f"{when} and ['{when}']: "
    assert rows == sorted([f'["{when}","{other}"]', when, text + other] for other in "aAeé")


@pytest.mark.parametrize("collation", ["nocase", "noaccent", "nfc", "de"])
def test_f6_default_collation(db, collation):
    """F6: the instance's collation does not make one key of two, in no step of a sync."""
    db.execute(f"SET default_collation = '{collation}'")
    made(db, "VARCHAR", "'a'", "'A'", "'á'")
    assert hits(db) == dict(zip(TEXTS, ("a", "A", "á"), strict=True))
    assert len({hit.metadata["made"] for hit in db.search(Q, "notes")}) == 1
    db.execute("UPDATE note SET body = 'Ants dance.' WHERE encode(k) = 'A'::BLOB")
    db.execute("DELETE FROM note WHERE encode(k) = encode('á')")
    report = db.sync()
    assert (report.added, report.changed, report.removed) == (0, 1, 1)
    assert hits(db) == {TEXTS[0]: "a", "Ants dance.": "A"}
    assert db.check() == []


def test_f6_texts_of_several_collations(db):
    """F6: a text is made of columns of different collations, which DuckDB would not join."""
    db.execute("CREATE TABLE note (k INTEGER PRIMARY KEY, a VARCHAR COLLATE NOCASE, b VARCHAR COLLATE DE)")
    db.execute("INSERT INTO note VALUES (1, 'It rains', 'all night.')")
    db.create_index("notes", "note", "{a} {b}")
    assert hits(db) == {"It rains all night.": 1}


def test_f18_rows_without_a_key_are_named(db):
    """F18: rows of a view whose key is NULL, or has a NULL, are in the report, and in no backlog."""
    db.execute("CREATE TABLE part (a INTEGER, b VARCHAR, body VARCHAR)")
    rows = "(1, 'x', 'It rains.'), (2, NULL, 'Bees dance.'), (NULL, NULL, 'Ships sail.'), (NULL, NULL, 'Twice.')"
    db.execute(f"INSERT INTO part VALUES {rows}")
    db.execute("CREATE VIEW seen AS FROM part")
    report = db.create_index("one", "seen", "body", key="a")
    assert (report.added, [(row.source_id, row.reason) for row in report.unreadable]) == (
        2,
        [(None, "its key is NULL")],
    )
    report = db.create_index("two", "seen", "body", key=["a", "b"])
    assert report.added == 1
    assert [(row.source_id, row.reason) for row in report.unreadable] == [
        ("[2,null]", "its key is NULL (b)"),
        ("[null,null]", "its key is NULL (a, b)"),
    ]
    assert (report.backlog, db.backlog(), db.check()) == (0, {}, [])
    assert len(db.sync("two").unreadable) == 2


def test_f18_a_table_of_another_schema(db, tmp_path):
    """F18: the error names the table that was meant and the view that makes it searchable, which is then done."""
    db.execute("CREATE SCHEMA other")
    db.execute("CREATE TABLE other.review (id INTEGER PRIMARY KEY, body VARCHAR)")
    db.execute(f"INSERT INTO other.review VALUES (1, '{TEXTS[0]}')")
    for name in ("other.review", "review", '"other"."review"'):
        with pytest.raises(
            errors.InputError, match=r'there is "keys"\."other"\."review".*CREATE VIEW "keys"\.main'
        ) as told:
            db.create_index("notes", name, "body")
    view = str(told.value).split("make a view there, ")[1].split(", and index it")[0]
    db.execute(view)
    db.create_index("notes", "review", "body", key="id")
    assert hits(db) == {TEXTS[0]: 1}
    with duckdb.connect() as other:
        other.execute(f"ATTACH '{tmp_path / 'other.duckdb'}' AS far; CREATE TABLE far.away (id INTEGER)")
    db.execute(f"ATTACH '{tmp_path / 'other.duckdb'}' AS far")
    with pytest.raises(errors.InputError, match="has no such table or view"):
        db.create_index("far", "far.away", "body")


def test_f6_a_table_whose_name_differs_by_an_accent(db):
    """F6: a collation without accents does not mix up the columns of two tables."""
    made(db, "INTEGER", "1", "2")
    db.execute("SET default_collation = 'noaccent'")
    db.execute("CREATE TABLE noté (body VARCHAR PRIMARY KEY, other INTEGER)")
    with pytest.raises(errors.InputError, match="does not have: it has k, body, made"):
        db.create_index("further", "note", "other")
    assert db.sync().added == 0
    assert hits(db) == {TEXTS[0]: 1, TEXTS[1]: 2}


@pytest.mark.parametrize("source", ["note", "found"])
def test_a_stated_key_that_several_rows_have_makes_no_index(source, tmp_path):
    """An index that cannot be filled is not left behind, to answer with nothing."""
    with sqlrag.connect(tmp_path / "a.duckdb") as db:
        db.execute("CREATE TABLE note (id INTEGER, body VARCHAR); INSERT INTO note VALUES (1, 'a ferry'), (1, 'bees')")
        db.execute("CREATE VIEW found AS FROM note")
        with pytest.raises(errors.InputError, match="several rows with the key 1"):
            db.create_index("notes", source, "body", key="id")
        assert db.indexes() == []
