"""The SQL functions in a SQLite connection, APSW's or the standard library's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from sqlrag.engines.functions import INFO_COLUMNS, SCALARS, SEARCH_COLUMNS, Functions, arities
from sqlrag.engines.measures import MEASURES, Aggregate, Measure
from sqlrag.engines.sqlite.filter_check import FilterCompiler
from sqlrag.engines.sqlite.table_functions import SQLValue, TableFunction
from sqlrag.engines.sqlite.table_schema import checked_columns, has_end
from sqlrag.engines.sqlite.triggers import Tracking
from sqlrag.errors import FilterError, SourceGoneError
from sqlrag.store.codes.scan import CodeMemory
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.driver.extensions import has_codes_scan, load_vec, vec_library
from sqlrag.store.names import in_main
from sqlrag.store.registry import Contents, IndexRecord, Registry
from sqlrag.store.source_table import key_expression, source_of
from sqlrag.store.statements import statement
from sqlrag.store.top_k import Index, Matching
from sqlrag.text.documents import PARTIAL
from sqlrag.values.bindings import sqlite_value

if TYPE_CHECKING:
    import apsw

    from sqlrag.engines.options import ConnectionOptions
    from sqlrag.store.encoders import Encoders
    from sqlrag.store.registry import Connection
    from sqlrag.store.scores import ScoreCache

Answer = TypeVar("Answer")

OWN = "sqlrag_"
"""What the names of table functions begin with that a table of the user's cannot have by chance."""

SEARCH = f"main.{OWN}search"
"""What our own statements call search()."""

__all__ = [
    "SEARCH",
    "SQLiteIndexes",
    "aggregate_functions",
    "give_functions",
    "load_vec",
    "scalar_functions",
    "table_functions",
    "under_both_names",
    "vec_library",
]


class SQLiteIndexes:
    """The indexes of a SQLite database: tables beside the documents, in the same file."""

    def __init__(self, connection: Connection, *, scans: bool | None = None) -> None:
        self.registry = Registry(connection)
        self.connection = connection
        self.seen: Contents | None = None
        """The registry as it was last looked at."""
        self._path = str(getattr(connection, "filename", ""))
        self._scans = scans
        self._memory = CodeMemory()

    def look(self) -> Contents:
        """Return the registry as it is now; one statement while nothing changes."""
        with translated(self._path):  # another process may keep the file locked
            self.seen = self.registry.look()
            return self.seen

    def names(self) -> list[str]:
        """Return the names of the indexes."""
        return [record.name for record in self.records()]

    def records(self) -> list[IndexRecord]:
        """Return what is recorded of each index."""
        contents = self.look()
        with translated(self._path):
            return contents.records

    def record(self, name: object) -> IndexRecord:
        """Return what is recorded of an index. Raises UnknownIndexError."""
        contents = self.look()
        with translated(self._path):
            return contents.get(name)

    def open(self, name: object) -> Index:
        """Return an index for reading. Raises UnknownIndexError."""
        record = self.record(name)
        if self._scans is None:
            self._scans = has_codes_scan(self.connection)
        return Index(self.connection, record, scans=self._scans, contents=self.seen, memory=self._memory)

    def columns(self, record: IndexRecord) -> list[str]:
        """Return the columns of an index's source, for a record that was just read.

        Raises SourceGoneError where the source is not as it was.
        """
        return self._once(("columns", record), lambda: checked_columns(self.connection, record))

    def followed(self, record: IndexRecord) -> IndexRecord:
        """Return a record that was just read, with the names that its source and the source's columns have now."""
        return self._once(("followed", record), lambda: Tracking(self.connection, record).followed())

    def has_end(self, record: IndexRecord) -> bool:
        """Tell whether the view that an index is over does without recursion, for a record that was just read."""
        return self._once(("has_end", record), lambda: has_end(self.connection, record.source_table))

    def _once(self, key: object, look_up: Callable[[], Answer]) -> Answer:
        """Return what holds as long as the schema does not change."""
        with translated(self._path):
            return (self.seen or self.look()).by_schema.once(key, look_up)

    def matching(self, record: IndexRecord, expression: str, params: Mapping[str, Any]) -> Matching:
        """Return the chunks whose source row satisfies a checked expression. Raises FilterError if it can't run."""
        values = {name: sqlite_value(f":{name}", value) for name, value in params.items()}
        source = source_of(record)
        table, key = in_main(source.table), key_expression(source)
        columns = self.columns(record)
        compiler = self._once(("filter", record), lambda: FilterCompiler(self.connection, source.table, columns))
        problem = compiler.problem(expression, values)
        problem = problem or self._problem(table, expression, values)
        if problem:
            raise FilterError(
                f"filter {expression[:80]!r} cannot be used: {problem} "
                f"(columns of {record.source_table}: {', '.join(columns)})"
            )
        source_ids = f"SELECT {key} FROM {table} WHERE ({expression}\n)"
        select = f"SELECT id FROM {in_main(record.name)} WHERE source_id IN ({source_ids})"
        return Matching(select, values, has_params=bool(values))

    def _problem(self, table: str, expression: str, values: Mapping[str, Any]) -> str | None:
        """Return why SQLite does not take a filter on a table, None if it does; it is prepared, and not run."""
        import sqlite3

        import apsw

        try:
            list(self.connection.execute(f"SELECT 1 FROM {table} WHERE ({expression}\n) LIMIT 0", values))
        except (apsw.SQLError, sqlite3.OperationalError) as error:
            return str(error)
        return None

    def default_embedder(self) -> str | None:
        """Return the database's own model, None for a database without an index."""
        with translated(self._path):
            return self.registry.meta("embedder")

    def is_tracked(self, record: IndexRecord) -> bool:
        """Tell whether changes are noticed: the table or view is there, and so are a table's triggers."""
        if not record.is_over_table:
            return True
        followed = Tracking(self.connection, record).followed()
        try:
            checked_columns(self.connection, followed)
        except SourceGoneError:
            return False
        return record.tracking != "triggers" or Tracking(self.connection, followed).is_there()

    def documents(self, record: IndexRecord) -> int:
        """Return how many documents an index over documents has, with those that have no text."""
        sql = "SELECT count(*) FROM main.documents WHERE index_name = ?"
        ((count,),) = self.connection.execute(sql, (record.name,))
        return int(count)

    def backlog(self, record: IndexRecord) -> tuple[int, float | None]:
        """Return how many documents are ingested in part (an `ingest` was stopped, or still runs), or rows are queued.

        And for how many seconds the oldest has been in the queue, None where none is.
        """
        if record.is_over_table:
            ((rows, waiting),) = self.connection.execute(statement("index/backlog", index=record.name))
            return rows, waiting
        # Not LIKE, which an application may have another of (ICU's, say), or make case-sensitive.
        sql = "SELECT count(*) FROM main.documents WHERE index_name = ? AND substr(content_hash, 1, ?) = ?"
        ((count,),) = self.connection.execute(sql, (record.name, len(PARTIAL), PARTIAL))
        return int(count), None


def table_functions(functions: Functions) -> list[TableFunction]:
    """Return the table functions with their columns and parameters."""
    top_k, params = ("index", "query", "k", "filter"), "filter_params"
    distance, score = ("id", "distance", "rank"), ("id", "score", "rank")
    chunk = ("ordinal", "start_char", "end_char", "text")
    search = ("index", "query", "top_k", "top_n", "filter", "budget_ms", params, "first_stage_weight", "vector_weight")
    return [
        TableFunction("vector_top_k", distance, (*top_k, "candidates", params, "nprobe"), 3, functions.vector_top_k),
        TableFunction("text_top_k", score, (*top_k, params), 3, functions.text_top_k),
        TableFunction(
            "hybrid_top_k", score, (*top_k, "vector_weight", params, "candidates"), 3, functions.hybrid_top_k
        ),
        TableFunction("search", SEARCH_COLUMNS, search, 2, functions.search),
        TableFunction("chunk", ("id", "source_id", "text", "context"), ("index", "chunk_id"), 2, functions.chunk),
        TableFunction("chunk_text", chunk, ("source", "max_tokens", "overlap"), 1, functions.chunk_text),
        TableFunction("sqlrag_info", tuple(INFO_COLUMNS), (), 0, functions.sqlrag_info),
    ]


def under_both_names(functions: Functions) -> list[TableFunction]:
    """Return the table functions, and each again under a name that no table of the user's hides: `sqlrag_search`."""
    found = table_functions(functions)
    own = [one for one in found if not one.name.startswith(OWN)]
    return [*found, *(replace(one, name=f"{OWN}{one.name}") for one in own)]


def scalar_functions(functions: Functions) -> list[tuple[str, range, Callable[..., SQLValue]]]:
    """Return `(name, numbers of arguments, callable)` of the scalar functions."""
    return [(name, arities(name), getattr(functions, name)) for name in SCALARS]


def aggregate_functions() -> list[tuple[str, int, Callable[[], Aggregate]]]:
    """Return `(name, number of arguments, maker of an aggregation)` of the aggregates."""

    def maker(measure: Measure) -> Callable[[], Aggregate]:
        return lambda: Aggregate(measure)

    return [(name, arguments, maker(measure)) for name, measure in MEASURES.items() for arguments in measure.arities()]


def give_functions(
    connection: apsw.Connection,
    indexes: SQLiteIndexes,
    encoders: Encoders,
    options: ConnectionOptions,
    scores: ScoreCache,
    *,
    on_plan: Callable[[SQLValue], None] | None = None,
) -> Functions:
    """Give an APSW connection the functions, and sqlite-vec.

    `on_plan` is called when a statement that asks an index is compiled, with the index's name where it is a literal.
    """
    import apsw

    import sqlrag.engines.sqlite.apsw_tables as tables

    load_vec(connection)
    functions = options.functions(indexes, encoders, scores)
    for name, counts, function in scalar_functions(functions):
        for arguments in counts:
            connection.create_scalar_function(name, function, arguments, deterministic=True)
    for name, arguments, aggregate in aggregate_functions():
        connection.create_aggregate_function(name, aggregate, arguments)
    for table_function in under_both_names(functions):
        asks = table_function.parameters[:1] == ("index",)
        tables.create(connection, table_function, on_plan=on_plan if asks else None)

    def begin(event: dict[str, object]) -> None:
        # What a trigger or a virtual table runs belongs to the statement outside.
        if not event["trigger"]:
            functions.stop.begin()
            functions.begin_statement()

    connection.trace_v2(apsw.SQLITE_TRACE_STMT, begin, id="sqlrag")
    return functions
