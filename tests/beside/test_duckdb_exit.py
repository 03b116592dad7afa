"""The interpreter ends while DuckDB databases are open and daemon threads ask them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.engine.databases import copy_of

pytestmark = pytest.mark.slow

PROGRAM = """
import sys, threading
import duckdb
import sqlrag

path, company = sys.argv[1:]
asked = threading.Event()

def ask(connection):
    number = 0
    while True:
        number += 1
        question = f"question {number} of {threading.get_ident()}"
        try:
            connection.execute(f"SELECT * FROM search('chunks', '{question}')").fetchall()
        except duckdb.Error as error:
            if "the interpreter is ending, and this statement was stopped" in str(error):
                return
            raise
        asked.set()

def register():
    return sqlrag.register(duckdb.connect(path))

if company == "half-read results":
    kept = [sqlrag.connect(path), register()]
    rows = kept[0].execute("SELECT * FROM range(100000)")
    next(iter(rows))
    kept[1].execute("SELECT *, token_count('ice') FROM range(100000)")
else:
    shared = sqlrag.connect(path)
    opened = {"a Database each": lambda: sqlrag.connect(path), "one Database": lambda: shared, "registered": register}
    for _ in range(3):
        threading.Thread(target=ask, args=(opened[company](),), daemon=True).start()
    assert asked.wait(60)
"""


@pytest.mark.usefixtures("real_models")
@pytest.mark.parametrize("company", ["a Database each", "one Database", "registered", "half-read results"])
def test_the_interpreter_ends_in_the_middle_of_a_search(passage_files, tmp_path, company):
    """It used to abort, to crash, or to wait for ever; and to write to stderr.

    A thread that has time for it gets an error that says why its statement was stopped.
    """
    path = str(copy_of(passage_files["duckdb"], tmp_path))
    command = [sys.executable, "-c", PROGRAM, path, company]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr) == (0, "")
