"""A SQLite database with sqlrag in it: one file holds documents, chunks, vectors and full text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import apsw

from sqlrag.errors import InputError, ReadOnlyError
from sqlrag.index.check import check_index
from sqlrag.index.registry import IndexRecord
from sqlrag.index.writer import upgrade
from sqlrag.results import Result, columns_of
from sqlrag.sqlite.errors import translated
from sqlrag.sqlite.functions import SQLiteIndexes, give_functions, load_vec
from sqlrag.sqlite.opening import open_sqlite
from sqlrag.sqlite.score_table import table_in
from sqlrag.sqlite.writer import SQLiteWriter

if TYPE_CHECKING:
    import pyarrow as pa

    from sqlrag.index.encoders import Encoders

__all__ = ["SQLiteEngine"]


class SQLiteRows:
    """The rows of a SQLite statement, stepped as they are asked for."""

    def __init__(self, cursor: apsw.Cursor, columns: list[str], path: str, at_end: Callable[[], None]) -> None:
        self.columns = columns
        self._cursor = cursor
        self._path = path
        self._at_end = at_end

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        with translated(self._path):
            yield from self._cursor
        self._at_end()

    def arrow(self) -> pa.Table:
        """Return what is left as an Arrow table, its types those of the values."""
        import pyarrow as pa

        rows = list(self)
        arrays = [pa.array([row[place] for row in rows]) for place in range(len(self.columns))]
        return pa.Table.from_arrays(arrays, names=self.columns)


class SQLiteEngine:
    """The engine behind `Database` for a SQLite file."""

    name = "sqlite"

    def __init__(
        self,
        path: str,
        encoders: Encoders,
        *,
        read_only: bool,
        must_exist: bool,
        rerank_limit: int,
        nprobe: int | None,
        score_cache: int | None,
    ) -> None:
        self.path = path
        self.read_only = read_only
        self.encoders = encoders
        self.connection = open_sqlite(path, read_only=read_only, must_exist=must_exist)
        try:
            with translated(path):
                self.indexes = SQLiteIndexes(self.connection)
                self.indexes.registry.check_version(path)
                self._upgrade()
                self._scores = table_in(self.connection, score_cache, read_only=read_only)
                self.functions = give_functions(self.connection, encoders, rerank_limit, nprobe, self._scores)
                encoders.check_choice([self.indexes.registry.get(name) for name in self.indexes.names()])
        except BaseException:
            self.connection.close()
            raise

    def _upgrade(self) -> None:
        """Upgrade a database of an earlier schema; one that cannot be written now is read as it is."""
        registry = self.indexes.registry
        if self.read_only or not registry.exists() or registry.is_current():
            return
        load_vec(self.connection)
        with suppress(apsw.BusyError, apsw.ReadOnlyError, apsw.FullError):
            upgrade(self.connection)

    def execute(self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Result:
        """Run SQL; several statements may stand in it, the rows are those of the last."""
        cursor = self.connection.cursor()
        columns: list[str] = []

        def remember_columns(tracing: apsw.Cursor, _sql: str, _bindings: object) -> bool:
            columns[:] = columns_of(tracing.get_description())
            return True

        cursor.exec_trace = remember_columns
        with translated(self.path):
            try:
                cursor.execute(sql, params)
            except KeyError as error:
                raise InputError(
                    f"the statement has a parameter {error.args[0]!r} that no value was given for"
                ) from error
        return Result(SQLiteRows(cursor, columns, self.path, self._scores.flush))

    def writer(self, index: str, record: IndexRecord) -> SQLiteWriter:
        """Return the writer of an index; `record` is what a new index is made with."""
        if self.read_only or self.connection.readonly("main"):
            raise ReadOnlyError(f"{self.path} is open read-only: nothing can be ingested into it")
        with translated(self.path):
            return SQLiteWriter(self.connection, self.path, self.indexes.registry.find(index) or record)

    def check(self) -> list[str]:
        """Return what is wrong with the database, empty when it is sound."""
        with translated(self.path):
            problems = [f"database: {row[0]}" for row in self.connection.execute("PRAGMA integrity_check")]
            problems = [problem for problem in problems if problem != "database: ok"]
            for name in self.indexes.names():
                index = self.indexes.open(name)
                problems += check_index(self.connection, index.record)
                backlog = self.indexes.backlog(index.record)
                if backlog:
                    problems.append(f"{name}: {backlog} documents are ingested in part: run the same ingest again")
            return problems

    def size(self) -> int:
        """Return the bytes of the database on disk."""
        files = (self.path, f"{self.path}-wal")
        return sum(os.path.getsize(file) for file in files if os.path.exists(file))

    def interrupt(self) -> None:
        """Stop the statement that runs; may be called from another thread."""
        self.connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        with translated(self.path):
            self.connection.close()
        self._scores.close()
