"""`sqlrag index`, `sync`, `reindex` and `check --repair`."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys

import apsw
import duckdb
import pytest

import sqlrag
from tests.conftest import started


@pytest.fixture
def shop(tmp_path):
    """A SQLite database that knows nothing of sqlrag."""
    path = tmp_path / "shop.db"
    write(
        path,
        "CREATE TABLE review (id INTEGER PRIMARY KEY, title TEXT, body TEXT, lang TEXT)",
        "INSERT INTO review VALUES (1, 'Flights', 'The flight takes nine hours.', 'en')",
        "INSERT INTO review VALUES (2, 'Rain', 'It rains.', 'en')",
    )
    return path


def write(path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_a_table_is_made_searchable(run, run_json, shop):
    """Two columns and a filter column; a search finds them, and what another client writes afterwards."""
    result = run("index", shop, "review.title", "review.body", "--filter-column", "lang")
    assert result.exit_code == 0, result.stderr
    assert "index review_chunks: rows: 2 added; 2 chunks" in result.stdout
    (hit, *_) = run_json("search", shop, "how long is one in the air?")
    assert (hit["source_id"], hit["text"], hit["metadata"]) == (
        1,
        "Flights\n\nThe flight takes nine hours.",
        {"lang": "en"},
    )
    write(shop, "INSERT INTO review VALUES (3, 'Trains', 'Trains are slower than planes.', 'en')")
    (hit, *_) = run_json("search", shop, "which is faster, train or plane?")
    assert hit["source_id"] == 3
    assert run("index", shop, "review.title", "review.body", "--filter-column", "lang").stdout.endswith(
        "rows: nothing new.\n"
    )


def test_search_brings_in_what_another_wrote_on_duckdb(run, run_json, tmp_path):
    """DuckDB has no queue: the row is found by comparison; while another process writes, it is told of, and no more."""
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body VARCHAR)")
        connection.execute("INSERT INTO review VALUES (1, 'The flight takes nine hours.')")
    run("index", path, "review.body")
    with duckdb.connect(path) as connection:
        connection.execute("INSERT INTO review VALUES (2, 'Trains are slower than planes.')")
    result = run("search", path, "which is faster, train or plane?")
    assert ("1. row 2 " in result.stdout, "Trains are slower" in result.stdout, result.stderr) == (True, True, "")
    with duckdb.connect(path) as connection:
        connection.execute("INSERT INTO review VALUES (3, 'Bees dance.')")
    with sqlrag.connect(path, read_only=True):
        result = run("search", path, "what do bees do?")
    assert "does not have 1 changed row of review" in result.stderr


def test_a_template_and_a_name(run, run_json, shop):
    """The text made by a template, the index under a name of its own; dropped, the table is as it was."""
    report = run_json("index", shop, "review", "--template", "{title}: {body}", "--name", "reviews")
    assert (report["added"], report["backlog"]) == (2, 0)
    rows = run_json("sql", shop, "SELECT text FROM reviews ORDER BY source_id")
    assert rows == [{"text": "Flights: The flight takes nine hours."}, {"text": "Rain: It rains."}]
    assert run_json("index", shop, "--drop", "reviews") == {"dropped": "reviews"}
    assert run_json("sql", shop, "SELECT name FROM sqlite_schema WHERE name GLOB '*review*'") == [{"name": "review"}]


def test_sync_reindex_and_repair(run, run_json, error_line, shop):
    """What the commands print, and what they do."""
    run_json("index", shop, "review.body")
    write(shop, "UPDATE review SET body = 'Bees dance.' WHERE id = 2", "DELETE FROM review WHERE id = 1")
    (info,) = run_json("info", shop)["indexes"]
    assert (info["backlog"], info["source"]) == (2, "review")
    assert info["backlog_seconds"] >= 0
    assert "2 rows wait" in run("info", shop).stdout
    assert run("sync", shop).stdout.startswith(f"{shop}: rows: 1 changed, 1 removed; 1 chunks")
    assert run_json("reindex", shop, "--max-tokens", "50")["added"] == 1
    assert run("reindex", shop, "--codes-only").stdout.startswith(f"{shop}: codes made anew for the chunks of 1 row")
    assert run_json("reindex", shop, "--codes-only")["unchanged"] == 1
    assert "leave out embedder" in error_line(run("reindex", shop, "--codes-only", "--max-tokens", "50"))
    write(shop, "DROP TRIGGER review_chunks_source_insert")
    result = run("check", shop)
    assert (result.exit_code, "triggers on review" in result.stdout) == (1, True)
    assert run_json("check", shop, "--repair") == []
    assert run("check", shop).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["review"], (2, "'review' is not TABLE.COLUMN")),
        ([], (2, "give TABLE.COLUMN")),
        (["review.nope"], (1, "column 'nope'")),
        (["nope.body"], (1, "table is 'nope'")),
        (["review.body", "other.body"], (2, "one table")),
        (["review.body", "--drop", "x"], (2, "--drop")),
        (["--drop", "nope"], (1, "no index 'nope'")),
        (["review.body", "--template", "{body}", "review.title"], (2, "one TABLE")),
        (["review.body", "--name", "a b"], (1, "is not a name")),
        (["review.body", "--embedder", "nope"], (1, "'nope'")),
    ],
)
def test_what_is_wrong(run, error_line, shop, arguments, expected):
    """One line, and nothing is made."""
    result = run("index", shop, *arguments)
    assert result.exit_code == expected[0]
    assert expected[1] in error_line(result)
    assert run("info", shop).exit_code == 0


def test_other_wrong_calls(run, error_line, shop, tmp_path):
    """A missing file, an index over documents, a model that is none."""
    assert "nope.db" in error_line(run("sync", tmp_path / "nope.db"))
    run("index", shop, "review.body")
    assert "no index 'x'" in error_line(run("sync", shop, "--index", "x"))
    assert "'nope'" in error_line(run("reindex", shop, "--model", "nope"))


def test_watch(shop):
    """It goes on until Ctrl-C, and says what each look brought."""
    subprocess.run([sys.executable, "-m", "sqlrag", "index", shop, "review.body"], check=True, capture_output=True)
    with started([sys.executable, "-u", "-m", "sqlrag", "sync", shop, "--watch"]) as process:
        assert "nothing new" in process.stdout.readline()
        write(shop, "INSERT INTO review VALUES (3, 'Bees', 'Bees dance.', 'en')")
        assert "1 added" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""


def test_f19_a_table_whose_name_makes_no_name_of_an_index(run, tmp_path):
    """With blanks, emoji or a keyword: the error names the option, and with it all works."""
    path = tmp_path / "shop.db"
    with apsw.Connection(str(path)) as connection:
        for table in ("my reviews", "Bücher 📚", "a-b", "2026"):
            connection.execute(f'CREATE TABLE "{table}" (id INTEGER PRIMARY KEY, body TEXT)')
            connection.execute(f"INSERT INTO \"{table}\" VALUES (1, 'It boils fast.')")
    connection.close()
    for number, table in enumerate(("my reviews", "Bücher 📚", "a-b", "2026")):
        result = run("index", path, f"{table}.body")
        assert result.exit_code == 2
        assert "--name" in result.stderr
        assert table in result.stderr
        result = run("index", path, f"{table}.body", "--name", f"found{number}")
        assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("name", ["shop.db", "shop.duckdb"])
def test_info_says_that_a_table_is_gone(run, run_json, tmp_path, name):
    """It is no index that is up to date, and no sync helps; a search answers still."""
    path = tmp_path / name
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO review VALUES (1, 'It rains.')")
        db.create_index("reviews", "review", "body")
    assert "none: up to date" in run("info", path).stdout
    with duckdb.connect(path) if path.suffix == ".duckdb" else apsw.Connection(str(path)) as connection:
        connection.execute("DROP TABLE review")
    shown = " ".join(run("info", path).stdout.split())
    assert "backlog unknown: index 'reviews' is over review, which is gone: drop the index" in shown
    (info,) = run_json("info", path)["indexes"]
    assert info["backlog"] is None
    result = run("search", path, "rain", "--json")
    assert result.exit_code == 0, result.stderr
    assert [hit["text"] for hit in json.loads(result.stdout)] == ["It rains."]
    assert "review, which is gone" in result.stderr
