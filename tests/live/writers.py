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
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
for line in sys.stdin:
    sql, parameters = json.loads(line)
    try:
        if parameters is None:
            connection.executescript(sql)
            answer = {"rows": []}
        else:
            answer = {"rows": connection.execute(sql, parameters).fetchall()}
    except sqlite3.Error as error:
        answer = {"error": str(error)}
    print(json.dumps(answer, default=repr), flush=True)
"""


class WriteError(Exception):
    """What sqlite3 said in the other process."""


class Writer:
    """A connection of sqlite3's to a file, without sqlrag; a transaction it has begun stays open between calls."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-I", "-c", _CHILD, str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def __call__(self, sql: str, *parameters) -> list[list]:
        """Run one statement with its parameters, or, where there are none, a script."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([sql, parameters or None]), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise WriteError(answer["error"])
        return answer["rows"]

    def rows(self, sql: str) -> list[list]:
        """Return the rows of a query."""
        return self(sql + " LIMIT ?", -1)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
