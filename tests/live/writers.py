"""A client that knows nothing of sqlrag: Python's own sqlite3, in a process of its own.

In this process it would be a second copy of SQLite beside APSW's, and one's locks on a file would end with the other's
(https://www.sqlite.org/howtocorrupt.html#multiple_copies_of_sqlite_linked_into_the_same_application).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_CHILD = """
import json, sqlite3, sys

connection = None

def opened(path):
    global connection
    if connection is not None:
        connection.close()
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    connection.execute("PRAGMA synchronous = off")  # no power fails here
    return []

def run(script):  # executescript() would COMMIT first
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    connection.execute(statement)
    return []

for line in sys.stdin:
    what, text, parameters = json.loads(line)
    try:
        if what == "open":
            rows = opened(text)
        elif what == "script":
            rows = run(text)
        else:
            rows = connection.execute(text, parameters).fetchall()
        answer = {"rows": rows}
    except sqlite3.Error as error:
        answer = {"error": str(error)}
    print(json.dumps(answer, default=repr), flush=True)
"""


class WriteError(Exception):
    """What sqlite3 said in the other process."""


class Writer:
    """A process with a connection of sqlite3's, without sqlrag; a transaction begun stays open between calls."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-c", _CHILD]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def open(self, path: Path | str) -> None:
        """Connect to a file, and close the one before."""
        self._ask("open", str(path))

    def __call__(self, sql: str, *parameters) -> list[list]:
        """Run one statement with its parameters, or, where there are none, a script."""
        return self._ask("statement" if parameters else "script", sql, *parameters)

    def rows(self, sql: str) -> list[list]:
        """Return the rows of a query."""
        return self._ask("statement", sql)

    def _ask(self, what: str, text: str, *parameters) -> list[list]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([what, text, parameters]), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise WriteError(answer["error"])
        return answer["rows"]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
