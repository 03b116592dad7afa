"""The program in odd surroundings: interrupted early, without standard files, in other locales, short of memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sqlrag
from tests.conftest import PASSAGES, database_path

PROGRAM = [sys.executable, "-c", "from sqlrag.cli import main; main()"]
"""What the installed script does."""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A database on each engine."""
    folder = tmp_path_factory.mktemp("surroundings")
    paths = {engine: database_path(folder, engine) for engine in ("sqlite", "duckdb")}
    for path in paths.values():
        with sqlrag.connect(path) as db:
            db.ingest(PASSAGES)
    return paths


def run(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the program as a process."""
    command = [*PROGRAM, *map(str, args)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False, **options)  # type: ignore[call-overload]


def test_low_ctrl_c_while_it_imports(files):
    """Whenever it comes after the first line of ours has run: status 130, and no traceback."""
    started = "import sys; sys.stderr.write('x'); sys.stderr.flush(); from sqlrag.cli import main; "
    slow = (
        "import importlib.abc\n"
        "class Slow(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('click', 'duckdb', 'sqlrag.database'):\n"
        "            import time; sys.stderr.write(name + '\\n'); sys.stderr.flush(); time.sleep(5)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "main()"
    )
    for module in ("click", "sqlrag.database", "duckdb"):
        command = [
            sys.executable,
            "-c",
            f"{started}\n{slow}".replace("('click', 'duckdb', 'sqlrag.database')", f"({module!r},)"),
        ]
        with subprocess.Popen(
            [*command, "search", str(files["duckdb"]), "bees"], stderr=subprocess.PIPE, text=True
        ) as process:
            assert module in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
        assert (process.returncode, said) == (130, "Interrupted: nothing was changed\n"), module


@pytest.mark.parametrize("wait", [0.05, 0.1, 0.2, 0.4])
def test_low_ctrl_c_at_any_moment(files, wait):
    """From the first line of ours on: it ends with 130 and a line, or has ended before."""
    command = [
        sys.executable,
        "-c",
        "import sys; print('.', file=sys.stderr, flush=True); from sqlrag.cli import main; main()",
    ]
    command += ["search", str(files["duckdb"]), "bees"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        process.stderr.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode in {0, 130}
    assert "Traceback" not in said
    assert not said or said.lstrip().startswith(("Interrupted", "Note"))  # click begins a line anew


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_low_standard_output_is_closed(files, engine):
    """One line, status 1; no file of the database gets the number of a standard one."""
    command = " ".join(f"'{word}'" for word in [*PROGRAM, "search", str(files[engine]), "bees"])
    done = subprocess.run(f"{command} >&-", shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: standard output is closed: let it go to a file, or to /dev/null\n",
    )
    done = subprocess.run(f"{command} --json 2>&- <&-", shell=True, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    assert '"score"' in done.stdout
    done = subprocess.run(
        f"{command.replace('search', 'sql').replace('bees', ' ')} <&-",
        shell=True,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_low_an_umlaut_in_any_locale(files, locale):
    """Arguments, files and output are UTF-8, whatever the locale says."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))} | locale
    path = files["sqlite"].with_name("bücher.db")
    shutil.copy(files["sqlite"], path)
    done = run("sql", path, "SELECT 'ü' || :q AS found", "-p", "q=zurück", "--json", env=environment)
    assert (done.returncode, done.stdout) == (0, '[{"found": "üzurück"}]\n'), done.stderr
    assert run("search", path, "wie kommt man zurück?", "--json", env=environment).returncode == 0


def test_low_an_argument_in_another_encoding(files):
    """What the terminal sends is not UTF-8: the line names the argument."""
    command = [*map(os.fsencode, [*PROGRAM, "search", str(files["sqlite"])]), "zurück".encode("latin-1")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        r"Error: the argument 'zur\udcfcck' is not UTF-8: your terminal, or whoever calls, uses another encoding" "\n",
    )


def test_low_a_library_that_does_not_fit_into_memory(files, tmp_path):
    """DuckDB imports pyarrow; what the linker says where there is no room for it is one line."""
    (tmp_path / "pyarrow").mkdir()
    lacks = "raise ImportError('libarrow_python.so: failed to map segment from shared object')"
    (tmp_path / "pyarrow" / "__init__.py").write_text(lacks)
    done = run("search", files["duckdb"], "bees", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "failed to map segment from shared object: is there enough memory (ulimit -v)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["sql", "shell"])
def test_low_a_read_only_file_system(files, tmp_path, command):
    """A DuckDB database that cannot be written is read; a statement that writes says why it can't."""
    tried = (
        subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False) if shutil.which("unshare") else None
    )
    if tried is None or tried.returncode:
        pytest.skip("no mount namespaces here: unshare -m fails")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount = f"mount --bind {files['duckdb'].parent} {mounted} && mount -o remount,bind,ro {mounted} && "
    program = " ".join(f"'{word}'" for word in [*PROGRAM, command, str(mounted / files["duckdb"].name)])
    given = {"sql": "SELECT count(*) AS n FROM chunks", "shell": "SELECT count(*) AS n FROM chunks;\n.quit\n"}[command]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount + program], input=given, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert str(len(PASSAGES) if isinstance(PASSAGES, list) else "") in done.stdout
    if command == "sql":
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", mount + program],
            input="DELETE FROM chunks",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "read-only" in done.stderr
