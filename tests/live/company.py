"""Who and what else there is while an operation runs: other connections, programs, forks, copies, a clock that jumps.

`within` is what happens inside of the process that is killed; `beside` is what other processes do meanwhile. Both give
what was wrong as text.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import duckdb

import sqlrag
from sqlrag.errors import Error
from tests.beside.programs import Program, copied, plain_duckdb, plain_sqlite

COMPANY = {
    "alone": "nobody else",
    "connection": "other connections of the process, opened and closed, beside another program",
    "program": "another program (DuckDB: one that tries to get in)",
    "fork": "forked children that ask the inherited connection",
    "copy": "`cp` of the live file",
    "clock": "a clock that jumps by a day, back and forth",
    "replaced": "a backup put in the file's place",
    "descriptors": "no descriptors left",
    "memory": "little memory left",
}
"""What a run has beside it, in words for the table."""


# Inside of the process


@contextmanager
def within(kind: str, path: Path, db: sqlrag.Database) -> Iterator[None]:
    """Let a kind of company be there in the block; a problem stands in the file `torn` beside the database."""
    if kind in ("connection", "fork"):
        with _repeated(_ask_elsewhere if kind == "connection" else _ask_in_a_fork, path, db):
            yield
    elif kind == "clock":
        with _jumping_clock():
            yield
    elif kind in ("descriptors", "memory"):
        with _without(kind):
            yield
    else:
        yield


@contextmanager
def _repeated(do: Callable[[Path, sqlrag.Database], str | None], path: Path, db: sqlrag.Database) -> Iterator[None]:
    stop = Event()

    def work() -> None:
        while not stop.wait(0.01):
            problem = do(path, db)
            if problem:
                path.with_name("torn").write_text(problem)
                return

    thread = Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _ask_elsewhere(path: Path, _db: sqlrag.Database) -> str | None:
    try:
        with sqlrag.connect(path, sync_rows=0) as other:
            other.info()
            other.backlog()
    except Error as error:
        # An index that is being repaired has not all of its tables, and says what makes them.
        expected = ("has lost a table", "check --repair", "locked")
        return None if any(words in str(error) for words in expected) else f"{type(error).__name__}: {error}"
    return None


def _ask_in_a_fork(_path: Path, db: sqlrag.Database) -> str | None:
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)  # one that hangs ends, also where its parent has been killed
        status = 1
        with suppress(BaseException):
            try:
                db.execute("SELECT 1").fetchall()
            except Error:
                status = 0
        os._exit(status)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return f"a forked child that asked the inherited connection ended by signal {os.WTERMSIG(status)}"
    return None if status == 0 else "a forked child could use the inherited connection"


@contextmanager
def _jumping_clock() -> Iterator[None]:
    """Let the clock of this process be off by a day, in turns ahead and behind; what files say is not."""
    real, real_ns, calls = time.time, time.time_ns, [0]

    def offset() -> int:
        calls[0] += 1
        return (calls[0] % 3 - 1) * 86_400

    time.time, time.time_ns = lambda: real() + offset(), lambda: real_ns() + offset() * 10**9
    try:
        yield
    finally:
        time.time, time.time_ns = real, real_ns


@contextmanager
def _without(kind: str) -> Iterator[None]:
    """Leave this process a handful of descriptors, or some megabytes of memory."""
    what = resource.RLIMIT_NOFILE if kind == "descriptors" else resource.RLIMIT_AS
    limits = resource.getrlimit(what)
    if kind == "descriptors":
        least = max(map(int, os.listdir("/proc/self/fd"))) + 1
    else:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        least = pages * resource.getpagesize() + 8 * 2**20
    resource.setrlimit(what, (least, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, limits)


# Beside the process


class Beside:
    """What other processes do while an operation runs."""

    def __init__(self, kind: str, path: Path, base: Path, engine: str) -> None:
        self.problems: list[str] = []
        self._kind, self._path, self._base, self._engine = kind, path, base, engine
        self._written = 0
        self._got_in = False
        self._program: Program | None = None
        self._copies: list[Path] = []

    def step(self) -> None:
        """Do the next thing."""
        if self._kind in ("program", "connection"):  # a lock that the process has lost shows to others only
            (self._write if self._engine == "sqlite" else self._try_to_get_in)()
        elif self._kind == "copy" and len(self._copies) < 3:
            folder = self._path.parent / f"copy{len(self._copies)}"
            self._copies.append(copied(self._path, folder))
        elif self._kind == "replaced" and not self._copies:
            self._copies.append(self._path)
            self._replace()

    def _write(self) -> None:
        """Open the file, commit a row to a table of its own, and close it: the last one to close empties the log."""
        program = self._program = Program(plain_sqlite, self._path)
        program.ask("CREATE TABLE IF NOT EXISTS beside (n INTEGER PRIMARY KEY)")
        _, error = program.ask("INSERT INTO beside VALUES (?)", self._written + 1)
        if error is None:
            self._written += 1
        elif "locked" not in error:
            self.problems.append(f"another program: {error}")
        program.close()

    def _try_to_get_in(self) -> None:
        program = Program(plain_duckdb, self._path)
        if program.opened is None:
            self._got_in = True
            program.close()

    def _replace(self) -> None:
        """Put a backup in the file's place, as a restore does: what stands beside the old file goes with it."""
        backup = self._path.parent / "backup"
        shutil.copytree(self._base, backup)
        for file in sorted(self._path.parent.glob(f"{self._path.name}?*")):
            file.unlink(missing_ok=True)
        for file in sorted(backup.iterdir()):
            file.replace(self._path.parent / file.name)

    def look(self, open_: Callable[[Path], Any], *, under_way: bool) -> None:
        """See what became of it all when the process is gone; `under_way`: it was killed before it had finished."""
        if self._got_in and under_way:
            self.problems.append("another program got into the file")
        if self._written:
            with sqlite3.connect(f"file:{self._path}?mode=ro", uri=True) as connection:
                ((rows,),) = connection.execute("SELECT count(*) FROM beside")
            connection.close()
            if rows != self._written:
                self.problems.append(f"{self._written - rows} of {self._written} commits of another program are gone")
        for copy in self._copies if self._kind == "copy" else ():
            self.problems += self._problems_of(copy, open_)

    def _problems_of(self, copy: Path, open_: Callable[[Path], Any]) -> list[str]:
        """Open a copy of a file that was being written: it may be damaged, which must be said in a line."""
        try:
            with open_(copy) as db:
                db.check()
        except Error as error:
            return [f"a copy: {error}"] if "\n" in str(error) else []
        except (duckdb.Error, sqlite3.Error) as error:
            return [f"a copy: {type(error).__name__}: {error}"]
        return []
