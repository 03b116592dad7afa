"""An operation is interrupted, by kill -9 or by a write that fails: is the database whole, and does the work go on?

A run takes a copy of a prepared database, interrupts a child process in the operation, and then looks: the file opens,
for reading only too, integrity_check and check() have nothing to say, what is committed is searchable after sync, and
the operation run again gives what an undisturbed one gives. What is wrong comes back as text.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import apsw

import sqlrag
from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.errors import BacklogWarning, Error
from tests.conftest import database_path
from tests.ingest.children import Child
from tests.live.company import Beside
from tests.live.faults import PAGE, disk_at
from tests.live.interrupted import run_in_child, run_on_a_disk, run_with_faults, torn, torn_codes
from tests.live.operations import Operation


@dataclass
class Outcome:
    """What one interrupted run has shown."""

    under_way: bool = False
    problems: list[str] = field(default_factory=list)
    error: str | None = None
    """What reached the caller of an operation with a write that failed."""
    writes: int = 0


@dataclass
class Case:
    """One operation on one engine: the database that it begins with, and what an undisturbed run makes of it."""

    engine: str
    operation: Operation
    variant: int
    folder: Path
    embedder: sqlrag.Embedder
    seconds: float = 0.0
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    """The table of the user's, which no operation changes."""
    after: dict[str, Any] = field(default_factory=dict)

    def prepare(self, times: int = 3) -> Case:
        """Make the database, run the operation undisturbed in a child, and measure it."""
        base = self.folder / "base"
        base.mkdir(parents=True)
        with self.open(database_path(base, self.engine)) as db:
            self.operation.make(db, self.variant)
            self.rows = self.rows_of(db)
        took = []
        for _ in range(times):
            path = self.copy()
            took.append(Child(run_in_child, path, self.operation.name, self.variant).result())
        self.seconds = sorted(took)[len(took) // 2]
        with self.open(path) as db:
            self.after = self.content(db)
            problems = [*db.check(), *self.unsearchable(db)]
        assert problems == [], (self.engine, self.operation.name, problems)
        return self

    def copy(self) -> Path:
        """Return the path of a fresh copy of the database."""
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(self.folder / "base", run)
        return database_path(run, self.engine)

    def open(self, path: Path, *, read_only: bool = False) -> sqlrag.Database:
        """Open a database; queries bring nothing in by themselves."""
        return sqlrag.connect(path, embedder=self.embedder, read_only=read_only, sync_rows=0)

    # What it holds

    def content(self, db: sqlrag.Database) -> dict[str, Any]:
        """Return what the operation determines: chunks with their vectors, whether it was measured, the rows."""
        index, variant = self.operation.index(self.variant), self.variant
        source, key, _ = self.operation.source(variant)
        named = f"(SELECT s.uri FROM {source} AS s WHERE s.{key} = c.source_id)"
        name = named if self.operation.on_documents(variant) else "c.source_id"
        chunks = db.execute(
            f"SELECT {name} AS of, ordinal, start_char, end_char, text, token_count FROM {index} AS c ORDER BY of, 2"
        ).fetchall()
        info = next(one for one in db.info() if one.index == index)
        vectors = self._vectors(db, index)
        is_measured = info.recall is not None
        return {"chunks": chunks, "vectors": vectors, "measured": is_measured, "rows": self.rows_of(db)}

    def rows_of(self, db: sqlrag.Database) -> list[tuple[Any, ...]]:
        """Return the rows of the source."""
        on_documents = self.operation.on_documents(self.variant)
        sql = "SELECT uri, title, text, content_hash FROM documents" if on_documents else "SELECT * FROM parcel"
        return db.execute(f"{sql} ORDER BY 1").fetchall()

    def _vectors(self, db: sqlrag.Database, index: str) -> list[tuple[str, Any]]:
        kept, key = f"{index}_embedding", "id"
        if db.engine == "sqlite":
            kept, key = f"{index}_vec", "rowid"
        sql = f"SELECT c.text, v.embedding FROM {index} AS c JOIN {kept} AS v ON v.{key} = c.id"
        return sorted(db.execute(sql).fetchall())

    def unsearchable(self, db: sqlrag.Database) -> list[str]:
        """Return the rows that the word which only they have does not find, or does not find alone."""
        index = self.operation.index(self.variant)
        source, key, word = self.operation.source(self.variant)
        found = db.execute(
            f"SELECT s.{key}, c.source_id FROM {source} AS s, text_top_k('{index}', s.{word}, 10) AS hit "
            f"JOIN {index} AS c ON c.id = hit.id"
        ).fetchall()
        rows = {(id_, id_) for (id_,) in db.execute(f"SELECT {key} FROM {source}")}
        wrong = rows ^ set(found)
        return [f"a search for its word does not find {source} {pair}" for pair in sorted(wrong)[:3]]

    # One run

    def killed(self, moment: float, *, reading: bool = False, company: str = "alone") -> Outcome:
        """Kill the operation after so many seconds, with company as COMPANY has it."""
        outcome, path = Outcome(), self.copy()
        # There the index is made anew in the index file, which only the process itself reads meanwhile.
        reading = reading and not (self.engine == "duckdb" and self.operation.name == "codes")
        beside = Beside(company, path, self.folder / "base", self.engine)
        run = partial(run_in_child, reading=reading, company=company)
        child = Child(run, path, self.operation.name, self.variant)
        child.wait_until_ready()
        until = time.monotonic() + moment
        if reading:
            outcome.problems += self._read_until(path, until)
        while time.monotonic() < until:
            beside.step()
            time.sleep(min(0.005, max(until - time.monotonic(), 0.0)))
        child.process.kill()
        child.process.join()
        said = child.said()
        outcome.under_way = not said
        self._judge_ending([one for one in said if not isinstance(one, float)], company, outcome)
        torn = path.with_name("torn")
        outcome.problems += [f"in the process: {torn.read_text()}"] if torn.exists() else []
        beside.look(self.open, under_way=outcome.under_way)
        outcome.problems += beside.problems
        self.look(path, outcome)
        return outcome

    def _judge_ending(self, said: list[object], company: str, outcome: Outcome) -> None:
        """Note how the operation ended: with an error of ours where something was missing, otherwise with none."""
        for one in said:
            outcome.error = f"{type(one).__name__}: {one}"
            allowed = (
                isinstance(one, Error) and "\n" not in str(one) and company in ("descriptors", "memory", "replaced")
            )
            # Python's own words for no memory; the second where a thread finds none.
            own = isinstance(one, MemoryError) or "can't start new thread" in str(one)
            if not allowed and not (company == "memory" and own):
                outcome.problems.append(f"the operation itself: {one!r}")

    def failed(self, kind: str, nth: int) -> Outcome:
        """Let a write of the operation fail, as FAULTS says of the kind."""
        path = self.copy()
        with disk_at(path.parent) if kind == "disk" else nullcontext() as disk:
            if disk is not None:
                shutil.copytree(self.folder / "base", path.parent, dirs_exist_ok=True)
                disk.leave(nth * PAGE)
            function = run_with_faults if kind in ("full", "io") else run_on_a_disk
            answer = Child(function, path, self.operation.name, self.variant, kind, nth).result()
            if disk is not None:
                disk.leave(1 << 30)
            outcome = Outcome(under_way=answer["failed"], writes=answer["writes"])
            self._judge(answer["errors"], outcome)
            self.look(path, outcome)
        return outcome

    def _judge(self, errors: list[tuple[str, bool, str]], outcome: Outcome) -> None:
        """Note what reached the caller; anything but an error of ours in one line is a problem."""
        for kind, ours, text in errors:
            outcome.error = f"{kind}: {text}"
            if not ours or "\n" in text:
                outcome.problems.append(f"the caller got {kind}: {text}")

    # What is found afterwards

    def look(self, path: Path, outcome: Outcome) -> None:
        """Open what an interruption has left, in every way; run the operation again."""
        steps: tuple[Callable[[Path], Iterator[str]], ...] = (self._for_reading, self._for_writing, self._of_the_file)
        for step in (*steps, self._again):
            try:
                outcome.problems += [f"{step.__name__[1:]}: {problem}" for problem in step(path)]
            except (Error, apsw.Error, sqlite3.Error) as error:  # noqa: PERF203 - four steps
                outcome.problems.append(f"{step.__name__[1:]}: {type(error).__name__}: {error}")

    def _for_reading(self, path: Path) -> Iterator[str]:
        index = self.operation.index(self.variant)
        with self.open(path, read_only=True) as db, warnings.catch_warnings():
            warnings.simplefilter("ignore", BacklogWarning)
            if self.operation.name == "repair":
                return  # what it begins with is damaged
            for sql in self._torn() if self.engine == "sqlite" else [torn(index, f"{index}_embedding", "id")]:
                (counts,) = db.execute(sql).fetchall()
                if any(counts):
                    yield f"{counts} chunks without a vector, vectors without a chunk, or chunks without a code"
            sql = f"SELECT id FROM vector_top_k('{index}', 'a kettle', 5)"
            hits = len(db.execute(sql).fetchall())
            if hits != 5:
                yield f"{hits} of the 5 nearest"

    def _for_writing(self, path: Path) -> Iterator[str]:
        with self.open(path) as db:
            flaws = self.operation.flaws(self.variant)
            yield from (problem for problem in db.check() if not any(flaw in problem for flaw in flaws))
            if not self.operation.on_documents(self.variant) and self.rows_of(db) != self.rows:
                yield "the user's table is another"
            if self.operation.name != "repair":
                db.sync()
                yield from self.unsearchable(db)

    def _of_the_file(self, path: Path) -> Iterator[str]:
        file = path if self.engine == "sqlite" else Path(f"{path}.sqlrag")
        connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)
        load_vec(connection)
        yield from (row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok")
        connection.close()

    def _again(self, path: Path) -> Iterator[str]:
        with self.open(path) as db:
            self.operation.run(db, self.variant)
            yield from db.check()
            yield from self.unsearchable(db)
            now = self.content(db)
            yield from (f"other {part} than undisturbed" for part in now if now[part] != self.after[part])

    def _read_until(self, path: Path, until: float) -> list[str]:
        """Read the file from this process all the while; of a DuckDB database that is the index file."""
        file, problems = path if self.engine == "sqlite" else Path(f"{path}.sqlrag"), []
        reader = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)
        while time.monotonic() < until and not problems:
            try:
                counts = [count for sql in self._torn() for count in reader.execute(sql).fetchone()]
            except sqlite3.OperationalError as error:
                # An index that is being put in another's place is gone and back within a transaction.
                problems.append(f"a reader: {error}")
                break
            problems += [f"a reader: {counts}"] if any(counts) else []
            time.sleep(0.002)
        reader.close()
        return problems

    def _torn(self) -> list[str]:
        """Return the statements that count, each in one snapshot of the SQLite file, what lacks its other parts.

        Of a DuckDB database it is the index file, which has codes and no vectors.
        """
        index = self.operation.index(self.variant)
        vectors = [torn(index, f"{index}_vec_rowids", "rowid")] if self.engine == "sqlite" else []
        return [*vectors, torn_codes(index)]
