"""How the extension is built, what it believes of SQLite, and what it needs of a system."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sqlrag.errors import MissingDependencyError
from sqlrag.serve.model_server.protocol import Frame, as_row, as_table

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "extension"


def test_the_layout_is_that_of_sqlites_headers(made):
    """Each routine's position and type, each field and each number is what sqlite3ext.h says."""
    if not Path("/usr/include/sqlite3ext.h").exists():
        pytest.skip("SQLite's headers are not here: apt install libsqlite3-dev")
    believed = (made("layout") / "believed.txt").read_text()
    assert "prepare_v2: 116\n" in believed
    assert "sqlite3_module.xFilter at 64\n" in believed


def test_the_functions_are_those_of_python():
    """functions.h is what functions.py makes of the package's definitions."""
    made = subprocess.run([sys.executable, str(FOLDER / "functions.py")], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert made.stdout == (FOLDER / "functions.h").read_text(), "python extension/functions.py > extension/functions.h"


def test_the_sources_are_all_built():
    """The Makefile's list has every file but the check of the layout."""
    listed = (FOLDER / "Makefile").read_text().split("SOURCES := ")[1].split("\n")[0].split()
    assert sorted([*listed, "check_layout.c"]) == sorted(path.name for path in FOLDER.glob("*.c"))


def test_only_the_entry_points_are_seen(library):
    """The library shows its two names, and needs libc alone: no Python, no SQLite."""
    if not shutil.which("nm") or not shutil.which("objdump"):
        pytest.skip("no nm and objdump here: apt install binutils")
    names = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    shown = [line.split()[-1] for line in names.splitlines() if line.split()[1] in "TDBR"]
    assert sorted(shown) == ["sqlite3_extension_init", "sqlrag_scan_init"]
    needed = subprocess.run(["objdump", "-p", library], capture_output=True, text=True, check=True).stdout
    libraries = {line.split()[1] for line in needed.splitlines() if "NEEDED" in line}
    assert libraries <= {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"}


@pytest.mark.parametrize(("compiler", "is_built"), [(None, True), ("false", False)])
def test_an_installation_needs_no_compiler(tmp_path, compiler, is_built):
    """Where the compiler fails the rest is built, without an error; where it works, a library in the package."""
    pytest.importorskip("setuptools", reason="setuptools is not here: pip install setuptools")
    if is_built and not shutil.which("cc"):
        pytest.skip("no C compiler here: apt install gcc libc6-dev")
    command = [sys.executable, "setup.py", "-q", "build_ext", "-b", str(tmp_path / "lib"), "-t", str(tmp_path / "temp")]
    environment = {**os.environ, **({"CC": compiler} if compiler else {})}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.glob("lib/sqlrag/*")] == (["sqlrag_extension.so"] if is_built else [])
    assert "warning:" not in done.stderr.replace("WARNING: ", "") or not is_built


def test_where_it_was_not_built(monkeypatch, tmp_path):
    """The error says what it takes, and what to run then."""
    import sqlrag.store.driver.built_library

    monkeypatch.setattr(sqlrag.store.driver.built_library, "__file__", str(tmp_path / "extension.py"))
    with pytest.raises(MissingDependencyError, match=r"takes a C compiler: .* pip install --force-reinstall"):
        sqlrag.store.driver.built_library.loadable_path()


def test_the_command(library):
    """`sqlrag extension` prints the path, and as JSON."""
    for options, read in ([], str.strip), (["--json"], lambda text: json.loads(text)["path"]):
        command = [sys.executable, "-m", "sqlrag", "extension", *options]
        assert read(subprocess.run(command, capture_output=True, text=True, check=True).stdout) == library


def test_another_sqlite_in_the_process(library):
    """A second SQLite library in one process is refused: what one of them made, the other must not free."""
    python = "/usr/bin/python3"
    version = [python, "-c", "import sys; print(sys.version_info[:2])"]
    if not Path(python).exists() or eval(subprocess.check_output(version)) != sys.version_info[:2]:
        pytest.skip(f"{python} is no Python of this version")
    program = """
import sqlite3, sys
sys.path.extend(sys.argv[2:])
import apsw
ours, other = sqlite3.connect(":memory:"), apsw.Connection(":memory:")
for connection in ours, other:
    connection.enable_load_extension(True)
ours.load_extension(sys.argv[1])
try:
    other.load_extension(sys.argv[1])
except apsw.ExtensionLoadingError as error:
    print(error)
print(*ours.execute("SELECT count(*) FROM pragma_function_list WHERE name = 'rerank_score'").fetchone())
"""
    done = subprocess.run([python, "-c", program, library, *sys.path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "loaded into another SQLite library of this process" in done.stdout
    assert done.stdout.endswith("\n2\n")


def test_valgrind(checked, made):
    """Calls, tables, queries and a broken connection under valgrind: nothing lost, nothing unwritten read."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("no valgrind here: apt install valgrind")

    def script(line):
        line.welcome()
        line.call()
        line.query("SELECT :a, x'00' UNION ALL SELECT 1.5, NULL", "a", "text")
        line.send(Frame.WORKING)
        line.result(b"\0vector")
        line.call()
        line.send(Frame.RESULT, as_table(3, [(1, 0.5, 1), (2, 0.75, 2)]))
        line.call()
        line.send(Frame.ERROR, as_row(["InputError", "no, thank you"]))
        line.call()
        line.raw(b"\xff\xff\xff\xff\xff")

    checked.library = made("plain") / "plain" / "sqlrag_extension.so"
    checked.command = [valgrind, "-q", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite",
                       *checked.command]  # fmt: skip
    del checked.environment["LD_PRELOAD"]
    checked.says(script)
    done = checked.run(
        "SELECT hex(embed('x'));", 'SELECT id, rank, k, "index" FROM vector_top_k(\'a\', \'q\', 2);',
        "SELECT embed('y');", "SELECT embed('z');", "SELECT * FROM search('a');",
    )  # fmt: skip
    assert done.stdout == "00766563746F72\n1|1|2|a\n2|2|2|a\n"
    assert "no, thank you" in done.stderr
    assert "search() needs index, query: got index" in done.stderr
