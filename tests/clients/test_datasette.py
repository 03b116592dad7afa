"""The plugin for Datasette, in a real Datasette, asked over HTTP.

Its entry point is written down for the test as the package's metadata has it, so that it is loaded by Datasette itself.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import sqlrag
from tests.conftest import started

pytest.importorskip("datasette", reason="Datasette is not here: pip install datasette")

import datasette
import httpx

ROOT = Path(__file__).parents[2]
QUESTION = "why do bees dance?"
TWO_STAGES = """
    SELECT c.id, c.text, rerank_score(:q, c.context || c.text) AS score
    FROM vector_top_k('chunks', embed(:q), 25) AS hit JOIN chunks AS c ON c.id = hit.id
    ORDER BY score DESC LIMIT 3
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory, packages):
    """The environment of a process with this one's packages, and with the plugin installed."""
    table = (ROOT / "pyproject.toml").read_text().split("[project.entry-points.datasette]\n")[1].partition("\n\n")[0]
    folder = tmp_path_factory.mktemp("installed")
    installed = folder / "sqlrag-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: sqlrag\nVersion: 0.1.0\n")
    (installed / "entry_points.txt").write_text("[datasette]\n" + table.replace('"', "") + "\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), packages])}


@pytest.fixture(scope="module")
def database(tmp_path_factory, passage_files):
    """The passages, for Datasette alone."""
    return Path(shutil.copy(passage_files["sqlite"], tmp_path_factory.mktemp("served") / "passages.db"))


@pytest.fixture(scope="module")
def served(extension_python, environment, database):
    """A Datasette that serves the passages: its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--setting", "sql_time_limit_ms", "60000"]
    with started(
        ["env", f"PYTHONPATH={environment['PYTHONPATH']}", extension_python, "-m", "datasette", str(database), *options]
    ) as (process):
        for line in process.stderr:
            if "Uvicorn running" in line:
                break
        # Each error is a long traceback, and the server would wait for somebody to read it.
        for pipe in (process.stdout, process.stderr):
            threading.Thread(target=pipe.read, daemon=True).start()
        yield f"http://127.0.0.1:{port}"


def query_of(database):
    """Return the path of a database's answers to SQL: Datasette 1.0 has one of its own for them."""
    return f"/{database}.json" if datasette.__version__.startswith("0.") else f"/{database}/-/query.json"


def rows(served, sql, **params):
    """Return the rows of a statement as Datasette's JSON has them."""
    return answer(served, sql, **params)["rows"]


def answer(served, sql, **params):
    """Return Datasette's answer to a statement."""
    params = {"sql": sql, "_shape": "objects", **params}
    return httpx.get(served + query_of("passages"), params=params, timeout=120).json()


def test_datasette_knows_the_plugin(served):
    """It is loaded by its entry point, as after `datasette install sqlrag`."""
    plugins = httpx.get(f"{served}/-/plugins.json").json()
    (hooks,) = [plugin["hooks"] for plugin in plugins if plugin["name"] == "sqlrag"]
    assert sorted(hooks) == ["extra_body_script", "prepare_connection", "register_routes"]


def test_the_documented_statement(served, database):
    """The statement runs on a SQL page, with the results that Python has."""
    with sqlrag.connect(database, read_only=True) as db:
        hits = db.search(QUESTION)
    found = rows(served, TWO_STAGES, q=QUESTION)
    assert [row["id"] for row in found] == [hit.id for hit in hits]
    assert [row["score"] for row in found] == pytest.approx([hit.score for hit in hits])
    page = httpx.get(
        f"{served}/passages", params={"sql": TWO_STAGES, "q": QUESTION}, timeout=120, follow_redirects=True
    )
    assert page.status_code == 200
    assert "rich patch of flowers" in page.text


def test_a_search_box_on_the_page_of_a_chunk_table(served, database):
    """Its answer has the hits of `search` with their movement; other tables have no box, and texts are texts."""
    address = "/-/sqlrag/passages/chunks"
    assert f'"action": "{address}"' in httpx.get(f"{served}/passages/chunks").text
    assert "sqlrag-search" not in httpx.get(f"{served}/passages/documents").text
    with sqlrag.connect(database, read_only=True) as db:
        comparison = db.compare(QUESTION, top_n=2)
    page = httpx.get(served + address, params={"q": QUESTION, "top_n": "2"}, timeout=120).text
    assert page.count("<article") == 2
    assert page.count("<g>") == len(comparison.candidates)
    assert f"score {comparison.hits[0].score:.3f}" in page
    attack = 'bees <script>alert(1)</script> " onload=x'
    answered = httpx.get(served + address, params={"q": attack, "top_n": "many"}, timeout=120).text
    assert "<script>alert(1)" not in answered
    assert '" onload=x' not in answered
    for wrong in ("/-/sqlrag/passages/documents", "/-/sqlrag/passages/nope", "/-/sqlrag/nope/chunks"):
        assert httpx.get(served + wrong, params={"q": "x"}).status_code == 404


def test_every_function(served):
    """Scalars, table functions with filters, aggregates."""
    assert rows(served, "SELECT token_count('one two') AS n") == [{"n": 2}]
    for function in ("vector_top_k", "text_top_k", "hybrid_top_k"):
        sql = f"SELECT id FROM {function}('chunks', 'honeybee dances', 5, 'title = ''Bees''')"
        assert rows(served, sql) == [{"id": 1}]
    (hit,) = rows(served, "SELECT source_id, reranked FROM search('chunks', :q, 7, 1)", q=QUESTION)
    assert hit == {"source_id": 1, "reranked": 7}
    assert rows(served, "SELECT ndcg(1, 1) AS n") == [{"n": 1.0}]
    assert rows(served, 'SELECT "index" AS name FROM sqlrag_info()') == [{"name": "chunks"}]


def test_many_at_once(served):
    """Datasette's threads have a connection each: everyone gets the answer to their own question."""
    questions = {"why do bees dance?": "Bees", "how do plants make oxygen?": "Photosynthesis"}
    sql = "SELECT d.title FROM search('chunks', :q, 10, 1) AS hit JOIN documents AS d ON d.id = hit.source_id"

    def ask(question):
        return rows(served, sql, q=question)[0]["title"]

    asked = list(questions) * 6
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(ask, asked)) == [questions[question] for question in asked]


def test_errors_are_ours(served):
    """What is wrong with a statement is said on the page as everywhere."""
    assert "no index 'nope': there is 'chunks'" in answer(served, "SELECT * FROM search('nope', 'x')")["error"]
    pairs = (
        "SELECT sum(rerank_score(a.id || ' ' || b.id || ' ' || c.id, 'x')) FROM documents a, documents b, documents c"
    )
    assert "rerank_limit = 1000 pairs" in answer(served, pairs)["error"]


def test_x11_no_text_is_longer_than_the_time_limit_bears(served):
    """A model takes some hundredths of a second for the longest, and no function of ours ends in the middle."""
    for function in ("token_count", "embed", "embed_document"):
        error = answer(served, f"SELECT {function}(hex(zeroblob(5000000))) AS n")["error"]
        assert f"{function}(): text has 10,000,000 characters: here it takes 100,000 at most" in error


def test_nothing_is_written(served, database):
    """The connections are read-only, and what makes an index is not there."""
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    for sql in (
        "DELETE FROM documents",
        "SELECT sqlrag_sync()",
        "SELECT sqlrag_create_index('x', 'documents', 'text')",
    ):
        assert answer(served, sql)["error"]
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before


def test_a_database_without_an_index(extension_python, environment, tmp_path):
    """Any other database is served as ever, and embed() is there."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    address = f"{query_of('other')}?sql=SELECT+length(embed('x'))+AS+n,+count(*)+AS+rows+FROM+t&_shape=array"
    ran = subprocess.run(
        [extension_python, "-m", "datasette", str(path), "--get", address, "--setting", "sql_time_limit_ms", "60000"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.fullmatch(r'\[\{"n": 1536, "rows": 0\}\]\n', ran.stdout)


def test_a_python_without_extension_loading(environment, tmp_path):
    """It says so once, in a line with the remedy, and serves other databases without the functions."""
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        pytest.skip("this Python's sqlite3 can load extensions")
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    ran = subprocess.run(
        [sys.executable, "-m", "datasette", str(path), "--get", f"{query_of('other')}?sql=SELECT+1+AS+n&_shape=array"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout == '[{"n": 1}]\n'
    assert ran.stderr.count("sqlrag's functions need a Python whose sqlite3 can load extensions") == 1
