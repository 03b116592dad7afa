"""A small database of real text on each engine, made by the command line itself, and ways to call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from click.testing import CliRunner, Result

from sqlrag.cli import cli
from sqlrag.cli.standard_library import harvest
from tests.conftest import ENGINES, database_path

MODULES = ("csv", "heapq", "smtplib", "statistics", "textwrap", "timeit")


@dataclass(frozen=True)
class Ran:
    """What a process left behind."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Text files of real documentation: how the docstrings of some modules begin, a file for each function or class."""
    folder = tmp_path_factory.mktemp("docs")
    for document in harvest():
        if document.metadata["module"] in MODULES:
            (folder / f"{document.title}.txt").write_text(document.text[:400], encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def databases(folder, tmp_path_factory):
    """A database of these files on each engine; no parameter here, or each file of tests would have its own."""
    paths = {name: str(database_path(tmp_path_factory.mktemp("db"), name, "docs")) for name in ENGINES}
    for path in paths.values():
        result = CliRunner().invoke(cli, ["ingest", path, str(folder)])
        assert result.exit_code == 0, result.output
    return paths


@pytest.fixture
def db(engine, databases):
    """A database of them, on each engine. Tests only read it."""
    return databases[engine]


@pytest.fixture
def run() -> Callable[..., Result]:
    """Call a command in this process."""
    return lambda *args, **options: CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="sqlrag", **options)


@pytest.fixture
def run_json(run):
    """Call a command with `--json` and return what it printed."""

    def call(*args, **options):
        result = run(*args, "--json", **options)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return call


@pytest.fixture
def error_line():
    """Return the only line on stderr; fail if there is another, or a traceback."""

    def line(result: Result | Ran) -> str:
        text = result.stderr if isinstance(result, Result) else result.err
        assert len(text.splitlines()) == 1, text
        return text.rstrip("\n")

    return line


@pytest.fixture
def process() -> Callable[..., Ran]:
    """Call a command in a process of its own, as a user does."""

    def call(*args, stdin="", **options):
        done = subprocess.run(
            [sys.executable, "-m", "sqlrag", *map(str, args)],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
            **options,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def terminal():
    """Call a command whose stdin, stdout and stderr are a terminal; return its status and all that it showed."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")

    def call(*args, typed="", columns=100):
        answers = typed.encode()
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(COLUMNS=str(columns), TERM="xterm")
            os.execv(sys.executable, [sys.executable, "-m", "sqlrag", *map(str, args)])
        os.write(terminal, answers)
        shown = b""
        try:
            while data := os.read(terminal, 65536):
                shown += data
        except OSError:  # how Linux says that the other side is closed
            pass
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        return os.waitstatus_to_exitcode(status), shown.decode()

    return call
