"""A DuckDB database with sqlrag in it. Vectors and full text are searched in the index file beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import duckdb

from sqlrag.engines.base import Engine
from sqlrag.engines.duckdb.asked_indexes import AskedIndexes
from sqlrag.engines.duckdb.at_exit import close_at_exit
from sqlrag.engines.duckdb.confinement import Confinement
from sqlrag.engines.duckdb.cursors import own_cursor
from sqlrag.engines.duckdb.error_translation import Raised, translated
from sqlrag.engines.duckdb.functions import define_functions, define_served
from sqlrag.engines.duckdb.index_file import index_file_of
from sqlrag.engines.duckdb.index_tables import DuckDBTables, upgrade
from sqlrag.engines.duckdb.indexed_table import DuckDBIndexedTable
from sqlrag.engines.duckdb.indexes import DuckDBIndexes
from sqlrag.engines.duckdb.instance_functions import INHERITED, register_in, share
from sqlrag.engines.duckdb.opening import open_session, score_table, warning
from sqlrag.engines.duckdb.parameters import DIALECT, bind_named
from sqlrag.engines.duckdb.schema_check import check_functions
from sqlrag.engines.duckdb.session import Session
from sqlrag.engines.duckdb.statements import Bindings, Statements
from sqlrag.engines.duckdb.table_schema import checked_types, describe, row_of_hit
from sqlrag.engines.duckdb.views import is_own
from sqlrag.engines.options import ConnectionOptions
from sqlrag.errors import DatabaseError, InputError, NotADatabaseError, SQLError
from sqlrag.process.database_paths import check_one_name, is_sqlite
from sqlrag.process.forks import at_fork, check_not_inherited, forget, leave, remember_inherited
from sqlrag.process.open_files import inode_of
from sqlrag.results import Result
from sqlrag.store.driver.error_translation import translated as translated_sqlite
from sqlrag.store.registry import IndexRecord
from sqlrag.store.source_table import SourceTable
from sqlrag.store.states import KeptStates
from sqlrag.store.writer import TRANSACTION_IS_OPEN, immediate
from sqlrag.values.bindings import bound, duckdb_value
from sqlrag.values.sql_lexer import significant

if TYPE_CHECKING:
    from sqlrag.store.encoders import Encoders

__all__ = ["DuckDBEngine"]

_MAINTENANCE = "sqlrag_"
"""What the names of the functions that change the database begin with."""


class DuckDBEngine(Engine):
    """The engine behind `Database` for a DuckDB file."""

    name = "duckdb"
    search_function = "search"
    table_tracking = "compare"

    indexes: DuckDBIndexes

    def __init__(self, path: str, encoders: Encoders, options: ConnectionOptions) -> None:
        read_only = options.read_only
        self._raised = Raised()
        self._maintenance: dict[str, Sequence[int]] = {}
        self._is_defined = False
        self._named: set[str] = set()
        self._confinement: Confinement | None = None
        self._is_upgraded = False
        if is_sqlite(path):  # DuckDB would try to download an extension for it
            raise NotADatabaseError(f"{path} is a SQLite database: open it with engine='sqlite'")
        check_not_inherited(path)
        check_one_name(path)
        with translated(path, opening=True):
            self._connection = duckdb.connect(path, read_only=read_only)
            # DuckDB draws its progress bar into the standard output, which may be JSON for a pipe, or an agent's
            # messages. The bar stays if another connection of this process has locked all settings.
            with suppress(duckdb.InvalidInputException):
                self._connection.execute("SET enable_progress_bar = false")
        super().__init__(path, encoders, read_only=read_only)
        self._statements = Statements(
            self._connection,
            path,
            self._raised,
            call_lock=self.call_lock,
            asking=AskedIndexes(self.stale),
            freshness=lambda: self.freshness,
            read_only=read_only,
        )
        try:
            self._shared = share(self, self._connection, path, read_only=read_only)
        except BaseException:
            self._connection.close()
            raise
        try:
            self._scores = score_table(path, options)
            self._session = open_session(
                self._connection, path, encoders, options, scores=self._scores, raised=self._raised
            )
            asking = self._session.asking = self._statements.asking
            self.indexes, self.functions = self._session.indexes, self._session.functions
            self.schema = self.indexes.main
            self._statements.begin(self.functions, self.schema)
            records = self.indexes.records()
            asking.known = {record.name: record.version for record in records}
            encoders.check_choice(records)
            close_at_exit(self)
        except BaseException:
            self._connection.close()
            self._shared.let_go()
            raise
        self._inode = inode_of(path)
        at_fork(self)

    # Called at a fork (sqlrag/process/forks.py)

    def before_fork(self, _seconds: float) -> bool:
        """Wait for nothing: a child cannot use the instance in any case, since it does not have its threads."""
        return False

    def after_fork(self) -> None:
        """Do nothing: the parent goes on."""

    def in_child(self, *, at_rest: bool) -> None:
        """Leave everything open as it is: it is the parent's."""
        del at_rest
        leave(self)
        remember_inherited(self._inode, INHERITED)

    def execute(self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Result:
        """Run SQL; several statements may stand in it, the rows are those of the last."""
        sql, bindings = self._prepared(sql, params)
        return Result(self._statements.run(sql, bindings))

    def describe(
        self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> list[tuple[str, str | None]]:
        """Return the columns of a statement and their types, without running it."""
        sql, bindings = self._prepared(sql, params)
        with translated(self.path, self._raised):
            rows = self._connection.execute(f"DESCRIBE {sql}", bindings).fetchall()
        return [(row[0], row[1]) for row in rows]

    def _prepared(self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None) -> tuple[str, Bindings]:
        """Make the connection ready for a statement; return the statement and its parameters in DuckDB's form."""
        self._statements.drain()
        self.functions.stop.begin()
        self.functions.begin_statement()
        self._named = _maintenance_named(sql)
        if not self._is_defined:
            self._define()
        given = bound(params, duckdb_value)
        bindings: Bindings
        if isinstance(given, list):
            bindings = given
        else:
            sql, named = bind_named(sql, given or {})
            bindings = named or []
        if self._confinement is not None:
            with translated(self.path, self._raised):
                self._confinement.check(sql)
        return sql, bindings

    def _define(self) -> None:
        """Define the functions for the user's statements, before the first of these, so that opening costs little.

        They are defined again when their types change: embed() returns vectors of a fixed length, search() keys of one
        type.
        """
        with translated(self.path, self._raised):
            self._shared.prepare(lambda: check_functions(self.indexes.cursor, self.path))
            define_functions(self._connection, self._session, self._maintenance)
        self._is_defined = True

    def source_table(self, table: object) -> SourceTable:
        """Return what the database says of a table or view. Raises InputError for an unknown name."""
        with translated(self.path):
            return describe(self._cursor, table)

    def tracking_of(self, source: SourceTable) -> str:
        """Return "compare" for a table and "view" for a view: one must not turn into the other."""
        return "view" if source.kind == "view" else "compare"

    def check_source(self, record: IndexRecord) -> None:
        """Raise SourceGoneError if the source of an index is not what it was."""
        with translated(self.path):
            checked_types(self._cursor, record)

    def stale(self, record: IndexRecord) -> int:
        """Return how many rows of its table an index has not seen, as the user's transaction sees it if one is open."""
        return self.indexes.unseen(record, self._connection if self._statements.in_transaction else None)

    def other_triggers(self, record: IndexRecord) -> list[str]:
        """Return the triggers on an index's chunk table: sqlrag makes none, so all are the user's."""
        sql = "SELECT trigger_name FROM duckdb_triggers() WHERE table_name = ?"
        try:
            return [name for (name,) in self._cursor.execute(sql, [record.name]).fetchall()]
        except duckdb.CatalogException:  # DuckDB 1 has no triggers
            return []

    def gap(self, record: IndexRecord) -> None:
        """Return None: every row is compared, so nothing is missed."""
        del record

    def hindrance(self) -> str | None:
        """Return why no rows can be indexed that the user's next statement sees, None where they can."""
        return self._statements.hindrance()

    def add_maintenance(self, name: str, function: Callable[..., int], arguments: Sequence[int]) -> None:
        """Make a function that changes the database callable as SQL, but not from a view or trigger of the file's."""

        def inside(*values: Any) -> int:
            if name not in self._named:  # on SQLite, SQLITE_DIRECTONLY ensures this
                raise SQLError(f"unsafe use of {name}(): only a statement of your own may call it")
            self._statements.asking.may_stop = False  # running the statement again would do its work twice
            nulls = [None] * (min(arguments) - len(values))  # DuckDB's macro leaves NULLs at the end out
            with self.call_lock.lent():
                return function(*values, *nulls)

        self._session.maintenance[name] = inside
        self._maintenance[name] = arguments

    def _tables(self, record: IndexRecord) -> DuckDBTables:
        cursor = self._closing_cursor()
        if not self._is_upgraded and not self.read_only:
            with translated(self.path):
                upgrade(cursor)
            self._is_upgraded = True
        return DuckDBTables(cursor, self.path, self.indexes, record)

    def _indexed_table(self, record: IndexRecord) -> DuckDBIndexedTable:
        tables = self._tables(record)
        return DuckDBIndexedTable(tables.connection, self.path, self.indexes, record)

    def _prepare_new(self, record: IndexRecord) -> None:
        """Do nothing: DuckDB has no journal to choose."""

    def _indexes_changed(self) -> None:
        """Bring the index file up to date. The types of the functions may have changed, too."""
        self._is_defined = False
        self._catch_up()

    def _is_own_view(self, record: IndexRecord) -> bool:
        return is_own(self._cursor, record.source_table)

    def _row_of_hit(self, record: IndexRecord) -> dict[str, str]:
        return row_of_hit(self._cursor, record, self.schema)

    def _errors(self) -> AbstractContextManager[None]:
        return translated(self.path)

    @contextmanager
    def _checking(self) -> Iterator[None]:
        with translated(self.path), translated_sqlite(index_file_of(self.path)), self.indexes.lock:
            yield

    @contextmanager
    def states(self, record: IndexRecord, *, write: bool = False) -> Iterator[KeptStates]:
        """Return what is kept of an index's chunks in the index file; `write`: the body is one write transaction."""
        with translated_sqlite(index_file_of(self.path)), self.indexes.lock, self.indexes.changing:
            self.indexes.catch_up()
            connection = self.indexes.connection
            with immediate(connection) if write else nullcontext():
                yield KeptStates(connection, record)

    def _damage(self) -> list[str]:
        self.indexes.catch_up()
        return self.indexes.differences()

    def _problems_of(self, record: IndexRecord) -> list[str]:
        if self.indexes.state_shown(record.name) is None:
            return []  # it has lost a table, which `differences` names
        return self.indexes.problems_of(record)

    def _source_problems(self, record: IndexRecord) -> list[str]:
        try:
            describe(self._cursor, record.source_table)
        except InputError:
            return [f"{record.name}: its table {record.source_table} is gone"]
        try:
            checked_types(self._cursor, record)
            with suppress(duckdb.CatalogException):  # it has lost a table, which `differences` names
                DuckDBIndexedTable(self._cursor, self.path, self.indexes, record).check_key()
        except DatabaseError as error:
            return [f"{record.name}: {error}"]
        return []

    def _is_repaired(self, record: IndexRecord) -> bool:
        """Make the index file anew if it is not a copy of the tables."""
        try:
            with self._checking():
                is_wrong = bool(self.indexes.differences() or self.indexes.problems_of(record))
        except (NotADatabaseError, SQLError):  # damaged
            is_wrong = True
        if is_wrong:
            self.indexes.copy_again()
        return True

    def _check_writable(self, what: str = "written to") -> None:
        super()._check_writable(what)
        if self._statements.in_transaction:
            raise SQLError(TRANSACTION_IS_OPEN)

    def hurried(self) -> AbstractContextManager[None]:
        """Change nothing: only one process has the file, and DuckDB reports a conflict within it without waiting."""
        return nullcontext()

    @property
    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """Another connection, which sees what is committed and does not disturb the user's statement."""
        return self.indexes.cursor

    def _closing_cursor(self) -> duckdb.DuckDBPyConnection:
        return self.indexes.closing(own_cursor(self._connection, self.indexes.catalog))

    def _catch_up(self) -> None:
        with self.indexes.lock:
            self.indexes.catch_up()

    def _files(self) -> Sequence[str]:
        index_file = index_file_of(self.path)
        return self.path, f"{self.path}.wal", index_file, f"{index_file}-wal"

    def _confine(self) -> None:
        with translated(self.path):
            self._confinement = Confinement(self._connection)

    def serve_functions(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Give all sessions of another DuckDB instance the functions, over the indexes of this database."""
        self._served = Session(self.functions, self.indexes, self._raised, served=True)
        self._served.asking = warning(
            self.indexes, "a database that is served is only read", f"end the server, then run: sqlrag sync {self.path}"
        )
        with translated(self.path):
            register_in(connection)
            define_served(connection, self._served)

    def _interrupt(self) -> None:
        self._connection.interrupt()
        self.indexes.interrupt()

    def close(self) -> None:
        """Close the connections."""
        forget(self)
        self._scores.close()
        try:
            with translated_sqlite(index_file_of(self.path)):
                self.indexes.close()
        finally:
            self._session.end()
            self._connection.close()  # even if the index file fails, so that the database does not stay locked
            self._shared.let_go()


def _maintenance_named(sql: str) -> set[str]:
    """Return the names in a statement that may be those of functions that change the database."""
    if _MAINTENANCE not in sql.lower():
        return set()
    names = (one.text.strip('"`').lower() for one in significant(sql, DIALECT) if one.kind in ("word", "name"))
    return {name for name in names if name.startswith(_MAINTENANCE)}
