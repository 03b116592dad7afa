"""What sqlite-vec and FTS5 keep in tables of their own, with something else in it: check says so, repair mends it (X8).

Each column of each of these tables is given what does not belong there, in one row and in all. Then either `check`
names it, or the answers are those of the sound file; after `repair` they are at any rate, and stay so when rows change.
"""

from __future__ import annotations

import random
import shutil
import warnings
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

import sqlrag
from sqlrag.errors import BacklogWarning, Error
from sqlrag.text.documents import Document

TEXTS = [
    "A kettle that whistles when it boils.",
    "A lamp for a desk, with a switch of brass.",
    "The ferry leaves at noon from the old harbour.",
    "Bees dance to tell where the nectar is.",
    "Snow fell on the harbour all night.",
    "A loaf of walnut bread, still warm.",
]
COLUMNS = {
    "chunks": ("chunk_id", "size", "validity", "rowids"),
    "rowids": ("rowid", "id", "chunk_id", "chunk_offset"),
    "vector_chunks00": ("rowid", "_rowid_", "vectors"),
    "info": ("key", "value"),
}
FULL_TEXT = {"data": ("id", "block"), "idx": ("segid", "term", "pgno"), "docsize": ("id", "sz"), "config": ("k", "v")}
VALUES = {
    "NULL": "NULL",
    "text": "'a text'",
    "a blob": "x'ff00ff'",
    "another's": "(SELECT {column} FROM {table} ORDER BY {column} DESC LIMIT 1)",
    "one more": "{column} + 1",
    "99": "99",
    "huge": "9223372036854775807",
    "negative": "-1",
    "zeros": "zeroblob(length({column}))",
    "ones": "CAST(replace(hex(zeroblob(length({column}) / 2)), '0', char(127)) AS BLOB)",
    "longer": "CAST({column} || x'00' AS BLOB)",
}
CASES = [
    *(("notes", "vec", part, column) for part, columns in COLUMNS.items() for column in columns),
    *(("chunks", "vec", part, column) for part in ("chunks", "rowids") for column in COLUMNS[part]),
    *(("small", "vec", part, column) for part, columns in COLUMNS.items() for column in columns),
    *(("notes", "fts", part, column) for part, columns in FULL_TEXT.items() for column in columns),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """Three indexes: over documents, over a table, over a table as int8."""
    path = tmp_path_factory.mktemp("sound") / "sound.db"
    with sqlrag.connect(path) as db:
        db.ingest([Document(str(number), "", text, {}, f"h{number}") for number, text in enumerate(TEXTS)])
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)").fetchall()
        for text in TEXTS:
            db.execute("INSERT INTO note (body) VALUES (?)", (text,)).fetchall()
        db.create_index("notes", "note", "body")
        db.create_index("small", "note", "body", vectors="int8")
        db.execute("DELETE FROM note WHERE id = 2").fetchall()  # a place that is free
        db.sync()
    return path


def changed(sound: Path, path: Path, table: str, column: str, value: str, *, all_rows: bool) -> bool:
    """Make a copy with a value in a column of a table; False where SQLite does not take it, or nothing changes."""
    shutil.copy(sound, path)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    connection = apsw.Connection(str(path))
    try:
        # What is NOT NULL need not be in a stranger's file.
        connection.execute("PRAGMA writable_schema = ON")
        sql = "UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE name = ?"
        connection.execute(sql, (table,))
        connection.execute("PRAGMA writable_schema = RESET")
        rows = "" if all_rows else f"WHERE _rowid_ = (SELECT min(_rowid_) FROM {table})"
        if table.endswith(("idx", "config")):
            rows = "" if all_rows else f"WHERE {column} = (SELECT min({column}) FROM {table})"
        before = rows_of(connection, table)
        with suppress(apsw.ConstraintError, apsw.MismatchError):
            connection.execute(
                f"UPDATE OR IGNORE {table} SET {column} = {value.format(table=table, column=column)} {rows}"
            )
        return rows_of(connection, table) != before
    finally:
        connection.close()


def rows_of(connection: apsw.Connection, table: str) -> list[tuple[str, ...]]:
    """Return what a table holds, values of any type as text."""
    columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
    return list(connection.execute(f"SELECT {', '.join(f'quote({column})' for column in columns)} FROM {table}"))


def answers(db: sqlrag.Database, index: str, texts: list[str]) -> list[object]:
    """Return what vectors and words find of each text."""
    found: list[object] = []
    for function in ("vector_top_k", "text_top_k"):
        for text in texts:
            sql = f"SELECT c.text FROM {function}('{index}', :q, 3) AS hit JOIN {index} AS c ON c.id = hit.id"
            found.append([row[0] for row in db.execute(f"{sql} ORDER BY rank", {"q": text})])
    return found


def firsts(db: sqlrag.Database, index: str, texts: list[str]) -> list[str]:
    """Return what is nearest to each text: itself, where its vector is its own."""
    return [found[0] for found in answers(db, index, texts)[: len(texts)]]  # type: ignore[index]


RUNS = [(value, all_rows, first) for value in VALUES for all_rows in (False, True) for first in ("check", "write")]

FOUND_BY_HAND = [
    (("notes", "vec", "rowids", "chunk_id"), "NULL"),
    (("notes", "vec", "rowids", "chunk_id"), "99"),
    (("notes", "vec", "rowids", "chunk_offset"), "one more"),
    (("chunks", "vec", "rowids", "chunk_offset"), "text"),
]


@pytest.mark.parametrize(
    ("case", "value"), FOUND_BY_HAND, ids=lambda one: one if isinstance(one, str) else "-".join(one)
)
def test_x8_an_id_at_a_place_of_another_is_found_and_mended(sound, tmp_path, case, value):
    """What was found by hand: check says nothing, a later update takes another row's vector out, repair fails."""
    assert tried(sound, tmp_path, case, [run for run in RUNS if run[0] == value]) == 4


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_x8_what_lies_in_a_shadow_table_is_found_and_mended(sound, tmp_path, case):
    """No traceback, no wrong answer that check passes over, no row without its vector after repair: some values."""
    tried(sound, tmp_path, case, random.Random("-".join(case)).sample(RUNS, 3))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_x8_whatever_lies_in_a_shadow_table_is_found_and_mended(sound, tmp_path, case):
    """The same with all values, in one row and in all, checked first and written to first."""
    assert tried(sound, tmp_path, case, RUNS) or case[3] in {"id", "_rowid_"}


WITHOUT = [
    *(f"DROP TABLE notes_vec_{table}" for table in COLUMNS),
    *(f"DROP TABLE {index}_{table}" for index in ("chunks", "small") for table in ("codes", "gone")),
    "DELETE FROM notes_codes",
    "DROP TRIGGER chunks_vector_after_delete",
    *(f"DROP TABLE chunks_fts_{table}" for table in FULL_TEXT),
    "DROP TABLE small_vec_rowids",
    "DROP TABLE chunks_vec_chunks",
    "UPDATE sqlite_schema SET sql = replace(sql, 'chunk_offset', 'chunk_place') WHERE name = 'notes_vec_rowids'",
    *(f"UPDATE sqlite_sequence SET seq = {value}" for value in ("'x'", "NULL", "9223372036854775807", "0", "x'00'")),
]


@pytest.mark.parametrize("statement", WITHOUT)
def test_x8_a_table_behind_an_index_is_gone(sound, tmp_path, statement):
    """Or has other columns, or SQLite's own count of ids is none: check says so or all is well, and repair mends it."""
    path = tmp_path / "without.db"
    shutil.copy(sound, path)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(statement)
    connection.close()
    with sqlrag.connect(path) as db:
        assert db.check() or statement.startswith("UPDATE sqlite_sequence") or statement.endswith("_info")
        assert db.repair() == []
        db.execute("UPDATE note SET body = 'A whistle for the referee.' WHERE id = 1").fetchall()
        db.sync()
        db.ingest([Document("0", "", "A whistle for the referee.", {}, "new")])
        assert db.check() == []
        for index in ("chunks", "notes", "small"):
            assert db.search("the whistle of the referee", index)[0].text == "A whistle for the referee."


@pytest.mark.parametrize("vectors", ["float32", "int8"])
def test_x8_vectors_of_other_texts_are_found_and_made_anew(tmp_path, vectors):
    """Two blocks of vectors have changed places: each is sound by itself, and none is of its text."""
    path, count = tmp_path / "swapped.db", 128 if vectors == "int8" else 32  # two blocks
    table = "notes_vec_vector_chunks00"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)").fetchall()
        for number in range(count):
            db.execute("INSERT INTO note (body) VALUES (?)", (f"{TEXTS[number % 6]} {number}",)).fetchall()
        db.create_index("notes", "note", "body", vectors=vectors)
        assert db.check() == []
    connection = apsw.Connection(str(path))
    blocks = [vectors for (vectors,) in connection.execute(f"SELECT vectors FROM {table} ORDER BY _rowid_ DESC")]
    for number, block in enumerate(blocks, start=1):
        connection.execute(f"UPDATE {table} SET vectors = ? WHERE _rowid_ = ?", (block, number))
    connection.close()
    with sqlrag.connect(path) as db:
        assert db.check() == [f"notes: {count} codes are not those of their vectors"]
        db.reindex("notes", codes_only=True)
        (problem,) = db.check()
        assert "vectors looked at are not of their texts" in problem
        assert db.repair() == []
        texts = [text for (text,) in db.execute("SELECT body FROM note")]
        assert firsts(db, "notes", texts[:20]) == texts[:20]


def tried(sound: Path, folder: Path, case: tuple[str, ...], runs: list[tuple[str, bool, str]]) -> int:
    """Try some values in a column; return how many were taken."""
    index, part, table, column = case
    warnings.simplefilter("ignore", BacklogWarning)
    path = folder / "changed.db"
    with sqlrag.connect(sound) as db:
        there = [text for (text,) in db.execute(f"SELECT text FROM {index} ORDER BY id")]
        right = answers(db, index, there)
    count = 0
    for value, all_rows, first in runs:
        if changed(sound, path, f"{index}_{part}_{table}", column, VALUES[value], all_rows=all_rows):
            count += 1
            with sqlrag.connect(path) as db:
                try_it(db, index, there, right, (first, column, value, all_rows))
    return count


def try_it(db: sqlrag.Database, index: str, there: list[str], right: list[object], what: tuple[object, ...]) -> None:
    """Take a damaged file through its life."""
    first = what[0]
    over_documents = index == "chunks"
    new = "A whistle for the referee."

    def write() -> None:
        if over_documents:
            db.ingest([Document("0", "", new, {}, "new")])
        else:
            db.execute("UPDATE note SET body = ? WHERE id = 1", (new,)).fetchall()
            db.sync(index)

    def check() -> list[str]:
        return [
            line
            for line in db.check()
            if line.startswith(f"{index}:") or not line.startswith(("chunks", "notes", "small"))
        ]

    if first == "write":
        with suppress(Error):
            write()
        there = [new if text == TEXTS[0] else text for text in there]
    else:
        found = check()
        if not found:
            assert answers(db, index, there) == right, what
    assert db.repair() == [], what
    if first == "write":
        write()
    assert check() == [], what
    assert sorted(firsts(db, index, there)) == sorted(there), what
    if first == "check":
        assert answers(db, index, there) == right, what
        write()
        there = [new if text == TEXTS[0] else text for text in there]
        assert check() == [], what
        assert sorted(firsts(db, index, there)) == sorted(there), what
