"""The statement of the design in programs that people have, each of them the real one, with the extension loaded."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

import sqlrag
from tests.conftest import started
from tests.engine.test_conformance import DESIGN_STATEMENT, Q, assert_same


class Given(NamedTuple):
    """What every client is given."""

    library: str
    database: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def given(library, served, tmp_path_factory, passage_files) -> Given:
    """The extension, the passages in a folder of their own, and the environment of a client whose server runs."""
    folder = tmp_path_factory.mktemp("clients")
    return Given(library, str(shutil.copy(passage_files["sqlite"], folder / "passages.db")), served)


@pytest.fixture
def wanted(both) -> list[tuple]:
    """What Python answers."""
    return both["sqlite"].execute(DESIGN_STATEMENT, Q).fetchall()


def output(command: list[str], environment: dict[str, str], **options) -> str:
    """Run a client and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def found(text: str) -> list[tuple]:
    """Return the rows of JSON: objects or lists."""
    return [tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in json.loads(text)]


def test_x4_a_source_that_became_a_view(sqlite3_shell, library, served, tmp_path):
    """The extension reads no more of a stranger's file than Python does."""
    path = tmp_path / "stranger.db"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT)").fetchall()
        db.execute("INSERT INTO review VALUES (1, 'Loud kettle.')").fetchall()
        db.create_index("reviews", "review", "body")
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id, 'x' AS body FROM n"
    program = f"DROP TABLE review; CREATE VIEW review AS {endless};\n.load {library}\n.bail off\n"
    program += "SELECT id FROM text_top_k('reviews', 'kettle', 5);\n"
    program += "SELECT id FROM text_top_k('reviews', 'kettle', 5, 'id < 9');\n"
    done = subprocess.run(
        [sqlite3_shell, "-batch", str(path)],
        input=program,
        capture_output=True,
        text=True,
        env=served,
        timeout=60,
        check=False,
    )
    assert done.stdout == "1\n"
    assert "is over the table review, which is a view now and is not read" in done.stderr


def test_the_sqlite3_shell(sqlite3_shell, given, wanted):
    """`.load`, a parameter, the statement."""
    program = f".load {given.library}\n.mode json\n.parameter set :q \"'{Q['q']}'\"\n{DESIGN_STATEMENT}"
    assert_same(found(output([sqlite3_shell, "-batch", given.database], given.environment, input=program)), wanted)


def test_the_shell_starts_the_server(sqlite3_shell, given, program, tmp_path, wanted):
    """Where no server runs, the first statement starts one, which the next process finds."""
    tmp_path.chmod(0o700)
    place = tmp_path / "s.sock"
    environment = {**os.environ, "SQLRAG_SOCKET": str(place), "SQLRAG_COMMAND": str(program)}
    script = f".load {given.library}\n.mode json\n.parameter set :q \"'{Q['q']}'\"\n{DESIGN_STATEMENT}"
    try:
        for _ in range(2):
            assert_same(found(output([sqlite3_shell, "-batch", given.database], environment, input=script)), wanted)
        assert json.loads(output([str(program), "status", "--json"], environment))["calls"] >= 2 * 27
    finally:
        output([str(program), "stop"], environment)


def test_sqlite_utils(extension_python, packages, given, wanted):
    """`sqlite-utils query --load-extension`."""
    pytest.importorskip("sqlite_utils", reason="sqlite-utils is not here: pip install sqlite-utils")
    command = [extension_python, "-m", "sqlite_utils", "query", given.database, DESIGN_STATEMENT.strip().rstrip(";")]
    command += ["--load-extension", given.library, "-p", "q", Q["q"]]
    assert_same(found(output(command, {**given.environment, "PYTHONPATH": packages})), wanted)


def test_datasette(extension_python, packages, given, wanted):
    """`datasette --load-extension`, over HTTP."""
    pytest.importorskip("datasette", reason="Datasette is not here: pip install datasette")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [extension_python, "-m", "datasette", "serve", given.database, "--load-extension", given.library]
    command += ["--port", str(port), "--setting", "sql_time_limit_ms", "60000"]
    variables = [f"{name}={given.environment[name]}" for name in ("SQLRAG_SOCKET", "SQLRAG_COMMAND")]
    with started(["env", f"PYTHONPATH={packages}", *variables, *command]) as process:
        assert any("Uvicorn running" in line for line in process.stderr)
        asked = urllib.parse.urlencode({"sql": DESIGN_STATEMENT.strip().rstrip(";"), "_shape": "arrays", **Q})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/passages.json?{asked}") as answer:
            rows = json.load(answer)
    assert_same([tuple(row) for row in (rows["rows"] if isinstance(rows, dict) else rows)], wanted)


def test_node(tmp_path, given, wanted):
    """Node's own driver, since 22."""
    node = shutil.which("node")
    if (
        node is None
        or subprocess.run([node, "-e", 'require("node:sqlite")'], capture_output=True, check=False).returncode
    ):
        pytest.skip("no node with node:sqlite here: npm install node@22")
    script = tmp_path / "search.js"
    script.write_text(
        'const { DatabaseSync } = require("node:sqlite");\n'
        "const db = new DatabaseSync(process.argv[2], { allowExtension: true });\n"
        "db.loadExtension(process.argv[3]);\n"
        "const rows = db.prepare(process.argv[4]).all({ q: process.argv[5] });\n"
        "console.log(JSON.stringify(rows)); db.close();\n"
    )
    assert_same(
        found(output([node, str(script), given.database, given.library, DESIGN_STATEMENT, Q["q"]], given.environment)),
        wanted,
    )


JAVA = """
import java.sql.*;
public class Search {
    public static void main(String[] given) throws Exception {
        var config = new org.sqlite.SQLiteConfig();
        config.enableLoadExtension(true);
        try (var db = DriverManager.getConnection("jdbc:sqlite:" + given[0], config.toProperties())) {
            try (var load = db.prepareStatement("SELECT load_extension(?)")) {
                load.setString(1, given[1]);
                load.execute();
            }
            try (var search = db.prepareStatement(given[2])) {
                search.setString(1, given[3]);
                var rows = search.executeQuery();
                while (rows.next())
                    System.out.println(rows.getLong(1) + "\\t" + rows.getString(2) + "\\t" + rows.getDouble(3));
            }
        }
    }
}
"""


def test_java(tmp_path, given, wanted):
    """JDBC, with Xerial's driver."""
    driver = Path("/usr/share/java/sqlite-jdbc.jar")
    if not shutil.which("javac") or not driver.exists():
        pytest.skip("no JDBC here: apt install default-jdk-headless libxerial-sqlite-jdbc-java")
    (tmp_path / "Search.java").write_text(JAVA)
    command = [
        "java",
        "-cp",
        str(driver),
        str(tmp_path / "Search.java"),
        given.database,
        given.library,
        DESIGN_STATEMENT,
        Q["q"],
    ]
    lines = [line.split("\t") for line in output(command, given.environment).splitlines()]
    assert_same([(int(id_), text, float(score)) for id_, text, score in lines], wanted)


def test_f9_the_log_says_what_an_index_lacks(sqlite3_shell, library, served, tmp_path):
    """A backlog, and triggers that are gone: in SQLite's log, since nobody sees a warning of Python's there."""
    path = str(tmp_path / "notes.db")
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO note VALUES (1, 'It rains.'), (2, 'Bees dance.')")
        db.create_index("notes", "note", "body")
    search = "SELECT text FROM search('notes', 'weather', 5, 1);"
    info = "SELECT coalesce(backlog, 'unknown') FROM sqlrag_info();"

    def shell(statements: str) -> str:
        program = f".log stdout\n.load {library}\n{statements}\n{search}\n{info}"
        return output([sqlite3_shell, "-batch", path], served, input=program)

    assert "index 'notes'" not in shell("")
    added = shell("INSERT INTO note VALUES (3, 'It snows.');")
    assert "(28) sqlrag: index 'notes' does not have 1 changed row of note yet" in added
    gone = shell("DROP TRIGGER notes_source_insert; INSERT INTO note VALUES (4, 'It pours.');")
    assert "(28) sqlrag: index 'notes' may lack changes of note, as its triggers" in gone
    assert gone.splitlines()[-1] == "unknown"
