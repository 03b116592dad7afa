"""Fixtures that many tests share: real passages, the bundled models, a database on each engine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import sqlrag
from tests import cost
from tests.cost import (  # noqa: F401 - pytest finds hooks here
    pytest_collection_modifyitems,
    pytest_runtest_protocol,
    pytest_sessionfinish,
    pytest_sessionstart,
    pytest_testnodedown,
)
from tests.startup import kept_results

try:
    import fcntl
except ImportError:  # on Windows each process makes its own databases
    fcntl = None

ENGINES = ("sqlite", "duckdb")
PASSAGES = Path(__file__).parent / "passages.jsonl"
"""Twenty-five passages of two or three sentences, written for these tests, with topic and year."""

# A job in the background of a shell without job control ignores SIGINT, and so would every process started here:
# the tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests don't use a server that happens to run on this machine.
os.environ["SQLRAG_SOCKET"] = "/nonexistent/server.sock"

# The processes that the tests start share what the models compute: they run startup/sitecustomize.py.
STARTUP = str(Path(kept_results.__file__).parent)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [STARTUP, os.environ.get("PYTHONPATH")]))
os.environ.setdefault(kept_results.VARIABLE, str(kept_results.folder()))
kept_results.use()
kept_results.forget_older()

SHARED_DATA = Path(os.environ.get("SQLRAG_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_terminal_summary(terminalreporter) -> None:
    """Write the ids of the skipped tests to the file SQLRAG_SKIPPED: CI runs them where what they need is there."""
    cost.print_cost(terminalreporter)
    if path := os.environ.get("SQLRAG_SKIPPED"):
        skipped = {report.nodeid for report in terminalreporter.stats.get("skipped", [])}
        Path(path).write_text("".join(f"{nodeid}\n" for nodeid in sorted(skipped)), encoding="utf-8")


@contextlib.contextmanager
def started(command: list):
    """Start a process with its output in pipes; it does not outlive the block, whatever happens there."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
        try:
            yield process
        finally:
            process.kill()


def database_path(folder: Path, engine: str, name: str = "passages") -> Path:
    """Return a path whose suffix is the engine's."""
    return folder / f"{name}.{'duckdb' if engine == 'duckdb' else 'db'}"


@pytest.fixture(params=ENGINES)
def engine(request) -> str:
    """Each engine in turn."""
    return request.param


@pytest.fixture
def real_models(monkeypatch) -> None:
    """Let the models run, in this process and those that the test starts, whatever results are kept."""
    monkeypatch.delenv(kept_results.VARIABLE)


def made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` has filled: once for all processes of a run, each of which has a copy."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" not in os.environ or fcntl is None:
        make(base / name)
        return base / name
    made = base.parent / name
    with open(f"{made}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(made.with_suffix(".begun"))
            made.with_suffix(".begun").rename(made)
    return Path(shutil.copytree(made, base / name, symlinks=True))


@pytest.fixture(scope="session")
def passage_files(tmp_path_factory) -> dict[str, Path]:
    """A database of the passages on each engine, for reading only."""

    def make(folder: Path) -> None:
        folder.mkdir()
        for name in ENGINES:
            with sqlrag.connect(database_path(folder, name)) as db:
                report = db.ingest(PASSAGES)
                assert (report.added, report.unreadable) == (25, [])

    folder = made_once(tmp_path_factory, "passages", make)
    return {name: database_path(folder, name) for name in ENGINES}


@pytest.fixture(scope="session")
def served_files(passage_files, tmp_path_factory) -> dict[str, Path]:
    """The same, for servers that last as long as the session: nobody can write a DuckDB file that another one reads."""
    from tests.engine.databases import copy_of

    folder = tmp_path_factory.mktemp("served")
    return {name: copy_of(path, folder, "passages") for name, path in passage_files.items()}


@pytest.fixture
def passages(engine, passage_files):
    """The passages on one engine, open for reading."""
    with sqlrag.connect(passage_files[engine], read_only=True) as db:
        yield db


@pytest.fixture
def both(passage_files):
    """The passages on both engines."""
    with (
        sqlrag.connect(passage_files["sqlite"], read_only=True) as sqlite,
        sqlrag.connect(passage_files["duckdb"], read_only=True) as duckdb,
    ):
        yield {"sqlite": sqlite, "duckdb": duckdb}


@pytest.fixture
def fresh(engine, tmp_path):
    """An empty database on one engine."""
    with sqlrag.connect(database_path(tmp_path, engine, "fresh")) as db:
        yield db


@pytest.fixture
def full_pipe():
    """The writing end of a pipe that is full, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 1000)
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The evaluation sets; a user's machine has none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the evaluation sets of ../shared/data are not here (set SQLRAG_DATA to their folder)")
    return SHARED_DATA
