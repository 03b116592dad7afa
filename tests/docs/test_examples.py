"""Every file in examples/ runs as its first lines say, and finds what it should.

The command in an example's first comment is what is run, so a new example is tested as soon as it is there. What it
must find goes into `FINDS`.
"""

from __future__ import annotations

import gc
import io
import json
import re
import runpy
import shlex
import shutil
import sqlite3
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

import sqlrag
from sqlrag.cli import cli
from sqlrag.store.statements import statement

EXAMPLES = Path(__file__).parents[2] / "examples"
SQL = sorted(path.name for path in EXAMPLES.glob("*.sql"))
PYTHON = sorted(path.name for path in EXAMPLES.glob("*.py"))
ON_SPARK = "spark.py"
"""tests/spark/test_documents.py runs it: Spark starts slowly."""

# A pattern for the first row, as JSON, or for the output of a program.
FINDS = {
    "two_stage.sql": r'"text": "timeit\\n',
    "filter.sql": r'"title": "random\.',
    "hybrid.sql": r'"title": "os\.fsencode"',
    "context_budget.sql": r'"title": "smtplib',
    "many_questions.sql": r'"title": "timeit"',
    "chunk_and_insert.sql": r'"title": "json\.dumps?".*pretty-printed',
    "two_stage_duckdb.py": r"\A\d\.\d+ +\d+ +timeit\n",
    "your_own_connection.py": r"\Aapsw +\[\('(collections\.Counter|statistics\.multimode)",
    "sqlalchemy_engine.py": r"\A\d\.\d+  (collections\.Counter|statistics\.multimode)",
    "to_pandas.py": r"(?s)\A.*\n0 +random +random\..*rank_after: int64.*│ random ",
    "folder_of_documents.py": r"(?s)\A25 new, 0 changed.*\n\d\.\d+  Sourdough: .*\nrank \d -> 1  Sourdough",
}


@dataclass(frozen=True)
class Done:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def here(prepared, tmp_path, monkeypatch):
    """A copy of the demo's folder, and the tests in it."""
    shutil.copytree(prepared, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def command(name: str) -> list[str]:
    """Return the command that an example's first comment gives."""
    head = (EXAMPLES / name).read_text(encoding="utf-8").partition("\n\n")[0 if name.endswith(".sql") else 2]
    found = re.search(rf"^(?:-- )?((?:sqlrag sql|python) .*\bexamples/{re.escape(name)}.*)$", head, re.MULTILINE)
    assert found, f"examples/{name} does not say at its top how to run it"
    return shlex.split(found[1])


def rows_of(arguments: list[str]) -> list[dict]:
    """Run `sqlrag sql` in this process and return its rows."""
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def run(arguments: list[str]) -> Done:
    """Run a program in the present folder and in this process, as `python PROGRAM …` does."""
    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("default")
        for silent in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", silent)  # as Python does by itself
        patch.setattr(sys, "argv", arguments)
        try:
            runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:  # a text is printed, and the status is 1
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                stderr.write(end.code)
    gc.collect()  # what a program leaves open is closed at its end
    return Done(code, stdout.getvalue(), stderr.getvalue() + "".join(f"{one.message}\n" for one in warned))


@pytest.mark.parametrize("name", SQL)
def test_sql_finds_it_on_both_engines(name, here):
    """A statement runs unchanged on SQLite and on DuckDB, finds what it is about, and the same on both."""
    program, *arguments = command(name)
    assert program == "sqlrag"
    assert arguments[1] == "python-stdlib.db"
    sqlite = rows_of(arguments)
    assert sqlite
    assert all(value is not None for row in sqlite for value in row.values())
    assert re.search(FINDS.get(name, ""), json.dumps(sqlite[0])), sqlite[0]
    duckdb = rows_of([arguments[0], "python-stdlib.duckdb", *arguments[2:]])
    assert [{**row, "score": None} for row in duckdb] == [{**row, "score": None} for row in sqlite]
    assert [row.get("score") for row in duckdb] == pytest.approx([row.get("score") for row in sqlite], abs=1e-5)


@pytest.mark.parametrize("name", [name for name in PYTHON if name != ON_SPARK])
def test_program_finds_it(name, here):
    """A program runs without a word on stderr and prints what it is about."""
    if "pandas" in name:
        pytest.importorskip("pandas", reason="the pandas extra is not installed: pip install 'sqlrag[pandas]'")
    program, *arguments = command(name)
    assert program == "python"
    done = run(arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    assert re.search(FINDS.get(name, ""), done.stdout), done.stdout


@pytest.mark.parametrize("name", PYTHON)
def test_program_without_arguments_says_how_to_run_it(name):
    """What it says ends in the command of its first lines, and is no traceback."""
    done = run([str(EXAMPLES / name)])
    assert done.returncode == 1
    assert f"python examples/{name} " in done.stderr
    assert "Traceback" not in done.stderr


def test_two_stage_is_the_statement_of_the_demo():
    """What stands in examples/ is the very statement that the demo and the conformance suite run."""
    lines = (EXAMPLES / "two_stage.sql").read_text(encoding="utf-8").partition("\n\n")[2]
    assert lines == statement("demo")


def test_duckdb_connection_runs_the_same_statement():
    """The DuckDB example differs from it in the parameter's mark only."""
    program = (EXAMPLES / "two_stage_duckdb.py").read_text(encoding="utf-8")
    words = re.search(r'SQL = """(.*?)"""', program, re.DOTALL)[1].split()
    assert words == statement("demo").replace(":q", "$q").split()


def test_every_connection_gives_the_same(here):
    """apsw, duckdb, and sqlite3 where this Python lets it load extensions, find the same rows."""
    _, *arguments = command("your_own_connection.py")
    done = run(arguments)
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines.keys() == {"apsw", "sqlite3", "duckdb"}
    titles = {name: re.findall(r"\('([\w.]+)', ", line) for name, line in lines.items()}
    assert len(titles["apsw"]) == 3
    assert titles["duckdb"] == titles["apsw"]
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        assert titles["sqlite3"] == titles["apsw"]
    else:
        assert "built without extension loading" in lines["sqlite3"]
        assert "sqlrag.connect(path)" in lines["sqlite3"]


def test_budget_is_kept(here):
    """The passages that context_budget.sql returns fit into the budget, and one more would not."""
    _, *arguments = command("context_budget.sql")
    rows = rows_of(arguments)
    budget = int(arguments[-1].removeprefix("budget="))
    assert sum(row["token_count"] for row in rows) == rows[-1]["tokens_so_far"] <= budget
    more = rows_of([*arguments[:-1], "budget=100000"])
    assert more[: len(rows)] == rows
    assert more[len(rows)]["tokens_so_far"] > budget


def test_filter_keeps_functions_only(here):
    """Each row of filter.sql is a function, although classes and methods match the question as well."""
    _, *arguments = command("filter.sql")
    titles = [row["title"] for row in rows_of(arguments)]
    assert len(titles) == 3
    with sqlrag.connect(arguments[1], read_only=True) as db:
        kinds = dict(db.execute("SELECT title, metadata ->> 'kind' FROM documents"))
        unfiltered = [hit.title for hit in db.search(arguments[-1].removeprefix("q="), top_n=25)]
    assert {kinds[title] for title in titles} == {"function"}
    assert {kinds[title] for title in unfiltered} > {"function"}


def test_a_second_run_reads_nothing_anew(here):
    """folder_of_documents.py can be run again after a change, and does only what changed."""
    _, *arguments = command("folder_of_documents.py")
    assert run(arguments).stdout.startswith("25 new, 0 changed")
    (here / "docs" / "p01.md").write_text("# Bees\n\nThey dance.\n", encoding="utf-8")
    (here / "docs" / "p03.md").unlink()
    assert run(arguments).stdout.startswith("0 new, 1 changed, 23 unchanged, 1 removed\n")


def test_readme_lists_every_example():
    """examples/README.md has a line for each file, and none for a file that is not there."""
    listed = re.findall(
        r"^\| \[([\w.]+)\]\(\1\) \|", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted([*SQL, *PYTHON, "notebook.ipy"])  # which tests/clients/test_notebook.py runs
    assert set(FINDS) <= set(listed)
