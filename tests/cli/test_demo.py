"""The demo: what it takes from the standard library, and what it shows."""

import json
import os
import subprocess
import sys

import pytest

import sqlrag.cli.standard_library
from sqlrag.cli.standard_library import QUESTIONS, harvest

MODULES = {
    "codecs",
    "collections",
    "difflib",
    "dis",
    "email",
    "heapq",
    "mailbox",
    "smtplib",
    "statistics",
    "timeit",
    "tracemalloc",
}


@pytest.fixture(scope="module")
def documents():
    return harvest()


def test_some_thousands_of_documents(documents):
    """Modules, classes, functions and some methods are all there, Python's own and those made in C."""
    assert 2_500 < len(documents) < 5_000
    titles = {document.title: document for document in documents}
    for title, kind in {
        "timeit": "module",
        "collections.OrderedDict": "class",
        "json.dumps": "function",
        "math.sqrt": "function",
        "itertools.chain": "class",
        "str.upper": "method",
        "sqlite3.Connection.rollback": "method",
        "os.path.join": "function",
        "random.choice": "function",
        "json.JSONEncoder": "class",
    }.items():
        assert titles[title].metadata["kind"] == kind
        assert titles[title].uri == f"python:{title}"
    assert titles["json.dumps"].metadata == {"module": "json", "kind": "function", "name": "json.dumps"}
    assert titles["json.dumps"].text.startswith("json.dumps(obj, skipkeys, ensure_ascii")
    assert "JSON formatted ``str``" in titles["json.dumps"].text


def test_no_document_comes_twice(documents):
    """Neither a uri nor a docstring is there twice, nor anything private."""
    uris = [document.uri for document in documents]
    assert len(set(uris)) == len(uris)
    bodies = [document.text.partition("\n\n")[2] for document in documents]
    assert len(set(bodies)) == len(bodies)
    assert [title for title in uris if "._" in title or ":_" in title] == []


def test_it_is_the_same_in_every_process(documents):
    """A second run finds nothing changed: no address, no order of a set, no setting is in the text."""
    code = "from sqlrag.cli.standard_library import harvest; print([(d.uri, d.content_hash) for d in harvest()])"
    outputs = []
    for seed in ("7", "8"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, env=environment
        )
        assert done.stderr == ""
        outputs.append(done.stdout)
    assert "python:json.dumps" in outputs[0]
    assert outputs[0] == outputs[1]


def test_harvesting_leaves_nothing_behind():
    """No thread, no child process, nothing printed, no browser, no window, no test suite is left by it."""
    code = """
import multiprocessing, sys, threading
from sqlrag.cli.standard_library import harvest
harvest()
print(threading.active_count(), multiprocessing.active_children(), *sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stderr == ""
    threads, children, *modules = done.stdout.split()
    assert (threads, children) == ("1", "[]")
    assert {"antigravity", "this", "turtle", "tkinter", "idlelib", "test", "lib2to3", "rlcompleter"} & set(
        modules
    ) == set()


def test_a_users_module_does_not_take_the_place_of_pythons(tmp_path):
    """A `random.py` beside the caller is not imported."""
    (tmp_path / "colorsys.py").write_text("raise SystemExit('imported a stranger')")
    code = (
        "from sqlrag.cli.standard_library import harvest\n"
        "print(sum(d.metadata['module'] == 'colorsys' for d in harvest()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


@pytest.fixture
def small(monkeypatch, documents):
    """A demo of a dozen modules, so that it takes seconds."""
    chosen = [document for document in documents if document.metadata["module"] in MODULES]
    monkeypatch.setattr(sqlrag.cli.standard_library, "harvest", lambda: chosen)
    return chosen


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_demo_shows_statement_results_and_movement(run, small, tmp_path, engine, monkeypatch):
    """The statement, each question with its rows, movement, what to try next; a second run embeds nothing."""
    monkeypatch.chdir(tmp_path)
    result = run("demo", "--engine", engine)
    assert result.exit_code == 0, result.stderr
    name = {"sqlite": "python-stdlib.db", "duckdb": "python-stdlib.duckdb"}[engine]
    assert (tmp_path / name).exists()
    shown = result.stdout
    assert f"{len(small):,} docstrings → {name}" in shown
    assert "FROM     vector_top_k('chunks', embed(:q), 25) AS hit" in shown
    assert all(f":q = '{question}'" in shown for question in QUESTIONS)
    assert "▲" in shown
    assert f"search {name}" in shown
    again = run("demo", "--engine", engine)
    assert "All of it is there from an earlier run." in again.stdout
    assert again.stdout.partition("SELECT")[2] == shown.partition("SELECT")[2]


def test_demo_answers_are_right(run, small, tmp_path):
    """Each question finds what a Python programmer would name, in the first place."""
    result = run("demo", "--path", tmp_path / "x.db", "--json")
    found = json.loads(result.stdout)
    assert [one["question"] for one in found["questions"]] == list(QUESTIONS)
    best = [one["hits"][0]["title"] for one in found["questions"]]
    assert best == ["timeit", "statistics.multimode", "tracemalloc.take_snapshot"]
