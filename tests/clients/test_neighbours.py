"""F12: other tools on a database that has an index: what works as it is, and the remedies of docs/neighbours.md."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import subprocess
import sysconfig
from pathlib import Path

import pytest

import sqlrag
from tests.engine.test_register import python_that_loads_extensions

PAGE = Path(__file__).parents[2] / "docs" / "neighbours.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
NO_MODULE = "no such module: vec0"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A table with an index, as the page has it."""
    monkeypatch.chdir(tmp_path)
    with sqlrag.connect("shop.db") as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT, stars INT)")
        db.execute("INSERT INTO review VALUES (1, 'It boils fast.', 3), (2, 'Lights up my desk.', 5)")
        db.create_index("reviews", table="review", text="body", filters=["stars"])
    return tmp_path / "shop.db"


def assert_found(path, text="boils", source_id=1):
    with sqlrag.connect(path) as db:
        assert db.search(text, "reviews", top_n=1)[0].source_id == source_id
        assert db.check() == []


def test_f12_sqlite_utils(shop):
    """Tables, schema, a table's columns, transform: all but describing each of the three virtual tables."""
    sqlite_utils = pytest.importorskip("sqlite_utils")
    db = sqlite_utils.Database(shop)
    assert {"review", "reviews", "sqlrag_indexes"} <= set(db.table_names())
    assert "CREATE TABLE" in db.schema
    assert db["review"].columns_dict == {"id": int, "body": str, "stars": int}
    db["review"].insert({"id": 3, "body": "It whistles.", "stars": 4})
    db["review"].transform(types={"stars": str})
    db.analyze()
    db.vacuum()
    with pytest.raises(sqlite3.OperationalError, match=NO_MODULE):
        assert [table.columns for table in db.tables]
    virtual = {name for (name,) in db.execute("SELECT name FROM pragma_table_list WHERE type = 'virtual'")}
    assert all(db[name].columns for name in set(db.table_names()) - virtual)
    db.close()
    assert_found(shop, "whistles", 3)


def test_f12_sqlalchemy(shop):
    """`reflect()` with the virtual tables left out, as the page says; a table by its name as ever."""
    sa = pytest.importorskip("sqlalchemy")
    engine = sa.create_engine(f"sqlite:///{shop}")
    with pytest.raises(sa.exc.OperationalError, match=NO_MODULE):
        sa.MetaData().reflect(engine)
    engine.dispose()
    names: dict = {}
    exec(SNIPPETS[0], names)
    assert {"review", "reviews", "sqlrag_meta"} <= set(names["metadata"].tables)
    assert "reviews_vec" not in names["metadata"].tables
    review = sa.Table("review", sa.MetaData(), autoload_with=names["engine"])
    with names["engine"].begin() as connection:
        connection.execute(review.insert(), {"id": 3, "body": "It whistles.", "stars": 4})
    names["engine"].dispose()
    assert_found(shop, "whistles", 3)


def test_f12_pandas(shop):
    """Both tables that people read."""
    pandas = pytest.importorskip("pandas")
    engine = pytest.importorskip("sqlalchemy").create_engine(f"sqlite:///{shop}")
    assert len(pandas.read_sql_table("review", engine)) == len(pandas.read_sql_table("reviews", engine)) == 2
    pandas.DataFrame({"a": [1]}).to_sql("another", engine)
    engine.dispose()
    assert_found(shop)


def test_f12_a_look_at_every_table(shop, capsys):
    """A browser's: what it finds without sqlite-vec, and the page's way around."""
    exec(SNIPPETS[1], {})
    printed = capsys.readouterr().out
    assert "review [('id',), ('body',), ('stars',)]" in printed
    assert "reviews_rows [" in printed
    assert "reviews_vec [" not in printed
    connection = sqlite3.connect(shop)
    without = {"reviews_vec"}
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for sql in (f'SELECT * FROM "{name}"', f'PRAGMA table_info("{name}")'):
            if name in without:
                with pytest.raises(sqlite3.OperationalError, match=NO_MODULE):
                    connection.execute(sql)
            else:
                connection.execute(sql).fetchall()
    connection.close()


def test_f12_copies(shop, tmp_path):
    """`backup()` and `VACUUM INTO` instead of `iterdump()`; maintenance needs nothing."""
    connection = sqlite3.connect(shop)
    with pytest.raises(sqlite3.OperationalError, match=NO_MODULE):
        list(connection.iterdump())
    for statement in (
        "VACUUM",
        "ANALYZE",
        "PRAGMA integrity_check",
        "ALTER TABLE review RENAME COLUMN body TO content",
    ):
        connection.execute(statement).fetchall()
    connection.execute("VACUUM INTO 'vacuumed.db'")
    with contextlib.closing(sqlite3.connect(tmp_path / "copied.db")) as copied:
        connection.backup(copied)
    connection.close()
    for name in ("shop.db", "vacuumed.db", "copied.db"):
        assert_found(tmp_path / name)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 shell is missing")
def test_f12_the_shell(shop, tmp_path):
    """`.dump` read by the shell, and `.backup`; the index is whole in both."""
    dumped = subprocess.run(["sqlite3", shop, ".dump"], capture_output=True, check=True)
    assert b"no such module" not in dumped.stderr
    read = subprocess.run(["sqlite3", tmp_path / "dumped.db"], input=dumped.stdout, capture_output=True, check=False)
    assert read.stderr == b""
    subprocess.run(["sqlite3", shop, ".backup backed.db"], check=True, capture_output=True)
    for command in (".schema", ".tables", ".fullschema"):
        subprocess.run(["sqlite3", shop, command], check=True, capture_output=True)
    for name in ("dumped.db", "backed.db"):
        assert_found(tmp_path / name)


def test_f12_an_engine_of_sqlalchemy_s_with_the_functions(shop):
    """Registered connections describe every table; in a Python whose sqlite3 can load extensions."""
    python = python_that_loads_extensions()
    if python is None:
        pytest.skip("no Python here whose sqlite3 can load extensions")
    program = (
        f"import site, sys; site.addsitedir(sys.argv[1])\n{SNIPPETS[2]}\n"
        "metadata = sa.MetaData(); metadata.reflect(engine)\n"
        "assert {'review', 'reviews_vec'} <= set(metadata.tables)\n"
        "with engine.connect() as connection:\n"
        "    sql = \"SELECT source_id FROM search('reviews', 'boils', 2, 1)\"\n"
        "    assert connection.scalars(sa.text(sql)).all() == [1]\n"
    )
    run = subprocess.run(
        [python, "-c", program, sysconfig.get_path("purelib")],
        cwd=shop.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
