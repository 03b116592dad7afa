"""The index file beside a DuckDB database: a SQLite file with the vectors and the full text.

DuckDB's tables are the truth; this file is made from them, can be deleted at any time and is caught up whenever it
shows another state: after a crash between the two commits, after rows were deleted by hand, after the file was
lost. `papers.duckdb` has `papers.duckdb.sqlrag`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, WeakValueDictionary

from sqlrag.engines.duckdb.cursors import catalog_of, own_cursor
from sqlrag.engines.duckdb.differences import problems_of
from sqlrag.engines.duckdb.error_translation import translated as translated_duckdb
from sqlrag.engines.duckdb.file_signature import Signature, file_signature
from sqlrag.engines.duckdb.index_connection import (
    in_memory,
    index_file_of,
    open_index,
    open_index_read_only,
    remake_index,
)
from sqlrag.engines.duckdb.index_copy import FILES, IndexCopy, drop_index, note_state, shown_state
from sqlrag.engines.duckdb.schema_check import check_tables, stored_records
from sqlrag.engines.duckdb.table_state import TableState
from sqlrag.engines.duckdb.vectors import all_vectors
from sqlrag.errors import DatabaseError, NotADatabaseError, SQLError
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.names import quote
from sqlrag.store.registry import Contents, IndexRecord, Registry, check_schema_version
from sqlrag.store.writer import immediate

if TYPE_CHECKING:
    import apsw
    import duckdb

__all__ = ["IndexFile", "index_file_of"]


class IndexFile:
    """The index file of an open DuckDB database, kept in step with its tables."""

    def __init__(self, database: duckdb.DuckDBPyConnection, path: str, *, read_only: bool) -> None:
        self.lock = threading.RLock()
        self.changing = _lock_of(path)
        self._path = path
        self._cursors: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()
        with translated_duckdb(path):
            self.catalog = catalog_of(database)
        self.main = f"{quote(self.catalog)}.main"
        self.cursor = self._duckdb = self.closing(own_cursor(database, self.catalog))
        self._read_only = read_only
        self._tables_seen = False
        self._names: list[str] = []
        self._lost: dict[str, tuple[IndexRecord, DatabaseError]] = {}
        self._seen: list[tuple[Any, ...]] | None = None
        self._file = os.path.abspath(path)  # wherever the process goes
        self._files: Signature | None = None
        try:
            files = file_signature(self._file)  # before the tables: what is committed after this shows next time
            # What is wrong with the tables is nothing that a new index file could repair.
            with translated_duckdb(path):
                tables = check_tables(self._duckdb)
            self._tables_seen = "sqlrag_indexes" in tables
            check_schema_version(self._meta("schema_version"), path)
            records = self._records(tables)
            with self.changing:
                self.connection = self._open()
                self.registry = Registry(self.connection)
                brought = self._begin(records, files)
            self._keep_up(brought)
            self._names, self._files = [record.name for record in records], files
        except BaseException:
            self._close_cursors()
            raise

    # What the writer asks

    def closing(self, cursor: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
        """Return a cursor that is closed with this: an open one would keep the file locked."""
        self._cursors.add(cursor)
        return cursor

    def state(self, record: IndexRecord, database: duckdb.DuckDBPyConnection | None = None) -> TableState:
        """Return the state of an index's tables, the present one or that of the transaction which `database` is in.

        Raises DatabaseError where one is gone.
        """
        database = database or self._duckdb
        try:
            with translated_duckdb(self._path):
                return TableState.of(database, record)
        except SQLError as error:
            raise self._without_table(record, error) from error

    def _without_table(self, record: IndexRecord, error: SQLError) -> DatabaseError:
        return DatabaseError(
            f"{self._path}: index {record.name!r} has lost a table ({str(error).splitlines()[0]}): "
            "sqlrag check --repair makes the index anew"
        )

    def state_shown(self, name: str) -> TableState | None:
        """Return which state of DuckDB's tables the index file shows, None where it does not have the index."""
        shown = self.registry.look()
        return shown_state(shown, name) if shown.find(name) else None

    def record_state(self, record: IndexRecord, state: TableState) -> None:
        """Note in the index file, in the caller's transaction, that it shows a state of DuckDB's tables."""
        note_state(self.registry, record, state)

    # Keeping the file in step

    def catch_up(self) -> None:
        """Make the index file show what DuckDB's tables hold."""
        if self._read_only:
            return  # DuckDB lets nobody else write meanwhile
        files = file_signature(self._file)  # before the tables: what is committed after this shows next time
        if files is not None and files == self._files:
            return
        with self.lock, translated(index_file_of(self._path)), translated_duckdb(self._path):
            seen = self._glance()
            if seen is not None and seen == self._seen:
                self._files = files
                return
            with self.changing:
                records = self._records()
                brought = self._show(records, self._states(records))
                self._note(files)
            if [record.name for record in records] != self._names:
                self._names = [record.name for record in records]
                seen = None  # it told of other indexes; one taken now might tell of what is not copied
            self._seen, self._files = seen, files
            self._keep_up(brought)

    def _show(self, records: Sequence[IndexRecord], states: Mapping[str, TableState]) -> list[IndexRecord]:
        """Let the index file show these states; return the records of those that it did not show.

        The caller holds `changing`.
        """
        for name in self.registry.names():
            if name not in states:
                drop_index(self.connection, name)
        shown = self.registry.look()
        behind = [
            record
            for record in records
            if record.name in states
            and not (_has(shown, record) and shown_state(shown, record.name) == states[record.name])
        ]
        return [record for record in behind if self._bring(record.name)]

    def _bring(self, name: str) -> bool:
        """Bring the index file's copy of an index to DuckDB's tables; if they are none of sqlrag's, the index is lost.

        State and rows are read in one transaction: what others commit meanwhile is in neither.
        """
        reader = self.closing(own_cursor(self._duckdb, self.catalog))
        record: IndexRecord | None = None
        try:
            reader.execute("BEGIN")
            record = next((one for one in stored_records(reader) if one.name == name), None)
            if record is not None:
                with translated(index_file_of(self._path)):
                    IndexCopy(reader, self.connection, record).bring_to(self.state(record, reader))
        except SQLError as error:
            if record is None or "UNIQUE constraint failed" not in str(error):
                raise
            self._lost[name.lower()] = (
                record,
                DatabaseError(
                    f"{self._path}: index {name!r} has a chunk twice ({error}): sqlrag check --repair mends it"
                ),
            )
            return False
        finally:
            reader.close()
        return record is not None

    def _keep_up(self, records: Iterable[IndexRecord]) -> None:
        with self.lock, translated(index_file_of(self._path)):
            for record in records:
                self.keep_up(record)

    def _states(self, records: Iterable[IndexRecord]) -> dict[str, TableState]:
        """Return the present states of those indexes that have their tables; the others are lost until a repair."""
        states: dict[str, TableState] = {}
        self._lost = {}
        for record in records:
            try:
                states[record.name] = self.state(record)
            except DatabaseError as error:  # noqa: PERF203 - there are few
                self._lost[record.name.lower()] = (record, error)
        return states

    def copy_again(self) -> None:
        """Make everything in the index file anew."""
        with self.lock:
            path = index_file_of(self._path)
            try:
                with translated(path):
                    for name in self.registry.names():
                        drop_index(self.connection, name)
            except (NotADatabaseError, SQLError) as error:  # damaged; a full disk is no reason to remove the file
                self.connection.close()
                self.connection = remake_index(path, error)
                self.registry = Registry(self.connection)
            self._seen = self._files = None
            self.catch_up()

    def differences(self) -> list[str]:
        """Return how the index file differs from DuckDB's tables, text by text and number by number; for `check`."""
        path = index_file_of(self._path)
        from sqlrag.store.driver.integrity import damage

        with translated(path), translated_duckdb(self._path):
            problems = [f"{path}: {problem}" for problem in damage(self.connection)]
            for record in self._records():
                problems += problems_of(self._duckdb, self.connection, record, path)
        return problems

    def interrupt(self) -> None:
        """Stop what a function of the running statement asks of the index; may be called from another thread."""
        self.connection.interrupt()
        for cursor in list(self._cursors):
            cursor.interrupt()

    def close(self) -> None:
        """Close the connections."""
        try:
            self.connection.close()
        finally:
            self._close_cursors()

    # Private

    def _close_cursors(self) -> None:
        for cursor in list(self._cursors):
            cursor.close()

    def _glance(self) -> list[tuple[Any, ...]] | None:
        """Return what changes with any of the states, in one statement: it is asked while files cannot tell."""
        if not self._has_tables():
            return None
        states = "".join(f", {_sums_of(name)}" for name in self._names)
        try:
            return sorted(self._rows(f"SELECT name, embedder_hash, version{states} FROM sqlrag_indexes"))
        except SQLError:
            return None  # a table is gone: the long way says which

    def _rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translated_duckdb(self._path):
            return self._duckdb.execute(sql, list(params)).fetchall()

    def _has_tables(self) -> bool:
        if not self._tables_seen:
            with translated_duckdb(self._path):
                self._tables_seen = "sqlrag_indexes" in check_tables(self._duckdb)
        return self._tables_seen

    def _meta(self, key: str) -> str | None:
        if not self._has_tables():
            return None
        rows = self._rows("SELECT value FROM sqlrag_meta WHERE key = ?", [key])
        return str(rows[0][0]) if rows else None

    def _records(self, tables: set[str] | None = None) -> list[IndexRecord]:
        """Return what DuckDB's tables record of each index; `tables` as for `stored_records`."""
        with translated_duckdb(self._path):
            return stored_records(self._duckdb, tables) if self._has_tables() else []

    def _open(self) -> apsw.Connection:
        path = index_file_of(self._path)
        return (open_index_read_only(path) or in_memory()) if self._read_only else open_index(path)

    def _begin(self, records: Sequence[IndexRecord], files: Signature | None) -> list[IndexRecord]:
        """Let the index file show DuckDB's tables; return the records of those indexes that it did not show.

        One that turns out to be damaged is begun anew; for a database that is open read-only, one that is behind is of
        no use. The caller holds `changing`.
        """
        path = index_file_of(self._path)
        with translated_duckdb(self._path):
            try:
                with translated(path):
                    shown = self.registry.look()
                    names = {record.name for record in shown.records}
                    is_noted = files is not None and shown.meta(FILES) == str(files)
                    is_recorded = all(_has(shown, record) for record in records)
                    if is_noted and is_recorded and names <= {record.name for record in records}:
                        return []
                    states = self._states(records)
                    if not self._read_only:
                        brought = self._show(records, states)
                        self._note(files)
                        return brought
                    if is_recorded and {name: shown_state(shown, name) for name in names} == states:
                        return []
                    self.connection.close()
                    self.connection = in_memory()
            except (NotADatabaseError, SQLError) as error:
                self.connection.close()
                self.connection = in_memory() if self._read_only else remake_index(path, error)
            self.registry = Registry(self.connection)
            with translated(path):
                return self._show(records, self._states(records))

    def _note(self, files: Signature | None) -> None:
        """Note that the index file shows what the database's files are by their signature, for whoever opens it next.

        Whatever changes the index file forgets it (see `note_state`).
        """
        if files is None or self._lost:
            return
        shown = self.registry.look()
        if shown.exists and shown.meta(FILES) != str(files):
            with immediate(self.connection):
                self.registry.set_meta(FILES, str(files))

    def keep_up(self, record: IndexRecord, progress: Callable[[str, float], None] = lambda _what, _share: None) -> None:
        """Measure how many candidates a search needs, if the index has grown; the caller holds the lock."""
        from sqlrag.store.upkeep import keep_up

        keep_up(self.connection, record, progress, partial(all_vectors, self._duckdb, record))


def _has(shown: Contents, record: IndexRecord) -> bool:
    """Tell whether the index file records an index as DuckDB's tables do."""
    found = shown.find(record.name)
    return found is not None and found.is_as(record)


def _sums_of(name: str) -> str:
    """Return the columns that tell one state of an index's tables from another, without the blocks of TableState."""
    return f"""
        (SELECT [count(*), max(id), sum(id), sum(hash(source_id)), sum(end_char)]::VARCHAR FROM {quote(name)}),
        (SELECT [count(*), sum(id)]::VARCHAR FROM {quote(name + "_embedding")})
    """


class _Changing:
    """Held while an index file is changed: only one connection of the process at a time compares and writes it.

    No other process has the database open then (DuckDB sees to it).
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


_changing: WeakValueDictionary[str, _Changing] = WeakValueDictionary()


def _lock_of(path: str) -> _Changing:
    """Return what those share that change the index file of one database."""
    return _Changing() if path == ":memory:" else _changing.setdefault(os.path.abspath(path), _Changing())
