"""Which indexes a database holds, and with which model and chunking each was made.

A query needs this several times, and it hardly ever changes. So `Registry.look` runs one statement that says whether
the file has changed, and reads the tables again only then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlrag.errors import InputError, NotADatabaseError, SchemaVersionError, UnknownIndexError
from sqlrag.store.full_text import check_tokenizer
from sqlrag.store.names import NEXT, check_index_name, is_internal, same_name
from sqlrag.store.precision import check_vectors
from sqlrag.store.schema_check import check_index_tables, check_registry
from sqlrag.store.source_table import TRACKING, check_template, key_columns, template_columns
from sqlrag.store.statements import statement

__all__ = [
    "HEADINGS",
    "SCHEMA_VERSION",
    "Connection",
    "Contents",
    "IndexRecord",
    "Registry",
    "State",
    "check_schema_version",
    "known_columns",
    "record_of",
]

SCHEMA_VERSION = 4
"""The layout of the tables that this version writes; a database says which one it has."""

HEADINGS = "headings"
"""`IndexRecord.context` of an index whose chunks are embedded with their titles and headings; "" before schema 4."""

_TXN_WRITE = 2
"""apsw.SQLITE_TXN_WRITE: of a connection that has no transaction open, the statement that runs writes."""

Value = TypeVar("Value")


class Connection(Protocol):
    """A SQLite connection, as the index uses it: apsw's, or `own_statements` on a connection of another module."""

    def execute(self, statement: str, bindings: Any = ..., /) -> Iterable[Any]:
        """Run a statement and return its rows."""

    def getautocommit(self) -> bool:
        """Tell whether no transaction is open."""

    def txn_state(self) -> int:
        """Return whether the connection is reading or writing: one of apsw.SQLITE_TXN_."""


@dataclass(frozen=True)
class IndexRecord:
    """One row of `sqlrag_indexes`; the columns are explained in sql/index/schema.sql."""

    name: str
    source_table: str
    source_key: str
    embedder: str
    embedder_hash: str
    dimension: int
    query_prompt: str
    document_prompt: str
    window: int
    max_tokens: int
    overlap: int
    version: int = 0
    tokenizer: str = "porter"
    vectors: str = "float32"
    template: str = ""
    filters: str = "[]"
    tracking: str = ""
    context: str = ""

    @property
    def is_over_table(self) -> bool:
        """Whether the index is over a table of the user's own, not over ingested documents."""
        return bool(self.tracking)

    def is_as(self, other: IndexRecord) -> bool:
        """Whether an index made like this one has everything but the version in common with another."""
        return replace(self, version=other.version) == other

    def values(self) -> dict[str, str | int]:
        """Return the row as a mapping, column by column."""
        return asdict(self)


COLUMNS: Sequence[str] = tuple(field.name for field in fields(IndexRecord))


def known_columns(names: Collection[str]) -> list[str]:
    """Return which of COLUMNS a table has: a database of an earlier schema lacks the later ones, which have defaults.

    Raises NotADatabaseError where one is missing that every schema had.
    """
    missing = [field.name for field in fields(IndexRecord) if field.default is MISSING and field.name not in names]
    if missing:
        raise NotADatabaseError(f"this database is damaged: its table sqlrag_indexes has no column {missing[0]!r}")
    return [column for column in COLUMNS if column in names]


def record_of(columns: Sequence[str], row: Sequence[Any]) -> IndexRecord:
    """Return a row of `sqlrag_indexes` as a record; `columns` are those that `known_columns` gave.

    The file may come from a stranger. Raises NotADatabaseError for values that sqlrag never writes.
    """
    return _checked_record(tuple(columns), tuple(row))


@lru_cache(maxsize=256, typed=True)  # each query reads the row anew, which is hardly ever another
def _checked_record(columns: Sequence[str], row: Sequence[Any]) -> IndexRecord:
    types = {field.name: field.type for field in fields(IndexRecord)}
    values = dict(zip(columns, row, strict=True))
    for name, value in values.items():
        if type(value).__name__ != types[name]:
            raise _damaged(row, f"{name} is {value!r}")
    record = IndexRecord(**values)
    try:
        check_index_name(record.name)
        check_tokenizer(record.tokenizer)
        check_vectors(record.vectors)
        _check_source(record)
    except (InputError, ValueError, RecursionError) as error:  # the last: of JSON
        raise _damaged(row, str(error)) from error
    if record.context not in ("", HEADINGS):
        raise _damaged(row, f"context is {record.context!r}")
    if min(record.dimension, record.window, record.max_tokens) < 1 or not 0 <= record.overlap < record.max_tokens:
        raise _damaged(row, "its sizes cannot be")
    return record


def _check_source(record: IndexRecord) -> None:
    """Raise ValueError for columns of the source that are no names, or a tracking that does not exist."""
    for names in (list(key_columns(record.source_key)), json.loads(record.filters)):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{names!r} is no list of columns")
    if not key_columns(record.source_key):
        raise ValueError("its key has no column")
    if is_internal(record.source_table, [record.name]) or record.source_table.lower() == record.name.lower():
        raise ValueError(f"its source is {record.source_table!r}, a table of sqlrag's own")
    if record.tracking == "documents" and not (record.name.endswith(NEXT) and record.source_table == "documents"):
        raise ValueError("tracking is 'documents'")
    check_template(record.template)
    if record.tracking not in ("", *TRACKING) or bool(record.tracking) != bool(template_columns(record.template)):
        raise ValueError(f"tracking is {record.tracking!r}, template {record.template!r}")


def _damaged(row: Sequence[Any], why: str) -> NotADatabaseError:
    return NotADatabaseError(
        f"this database is damaged: its table sqlrag_indexes has a row for {row[0]!r} that sqlrag did not write ({why})"
    )


def check_schema_version(version: str | None, path: str) -> None:
    """Raise SchemaVersionError if a newer sqlrag made a file, given its `schema_version`; None where it has none."""
    if version is None:
        return
    if not version.isdecimal() or len(version) > 9:
        raise NotADatabaseError(f"{path} is damaged: its sqlrag_meta has the schema_version {version[:80]!r}")
    if int(version) > SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{path} was made by a newer sqlrag (schema {version}; this one knows up to {SCHEMA_VERSION}): "
            "upgrade with pip install -U sqlrag"
        )


class State(NamedTuple):
    """The numbers that change with the contents of a file, as one connection sees them."""

    rows_written: int
    """The rows that this connection has written."""
    commits_of_others: int
    """https://www.sqlite.org/pragma.html#pragma_data_version"""
    schema: int

    @classmethod
    def of(cls, connection: Connection) -> State:
        """Return the present state, with one statement."""
        sql = (
            "SELECT total_changes(), data_version, schema_version "
            "FROM main.pragma_data_version, main.pragma_schema_version"
        )
        (state,) = connection.execute(sql)
        return cls(*state)


class Known:
    """Answers that hold for one version of the schema, each looked up once."""

    def __init__(self, schema: int) -> None:
        self.schema = schema
        self._answers: dict[Hashable, Any] = {}

    def once(self, key: Hashable, look_up: Callable[[], Value]) -> Value:
        """Return the answer that is kept under a key, which `look_up` gives the first time."""
        if key not in self._answers:
            self._answers[key] = look_up()
        answer: Value = self._answers[key]
        return answer


class Contents(Known):
    """What the registry tables of a file hold in one state of the file; each table is read when it is first needed.

    `once` keeps further answers that hold as long as the file does not change; `by_schema.once` keeps those that hold
    as long as the schema does not change.
    """

    def __init__(self, connection: Connection, state: State, by_schema: Known) -> None:
        super().__init__(state.schema)
        self.state = state
        self.by_schema = by_schema
        self._connection = connection

    @property
    def exists(self) -> bool:
        """Whether the file has sqlrag's tables. Raises NotADatabaseError for other tables of their names."""
        return "sqlrag_meta" in self.by_schema.once("registry", lambda: check_registry(self._connection))

    @property
    def is_current(self) -> bool:
        """Whether the registry tables are there, of this version of the schema."""
        return self.meta("schema_version") == str(SCHEMA_VERSION)

    def check_version(self, path: str) -> None:
        """Raise SchemaVersionError if a newer sqlrag made this file."""
        check_schema_version(self.meta("schema_version"), path)

    def meta(self, key: str) -> str | None:
        """Return one fact about the database, None where it is not recorded."""

        def read() -> str | None:
            rows = list(self._connection.execute("SELECT value FROM main.sqlrag_meta WHERE key = ?", (key,)))
            return str(rows[0][0]) if rows else None

        return self.once(("meta", key), read) if self.exists else None

    @cached_property
    def records(self) -> list[IndexRecord]:
        """The records of the indexes, by name; without indexes that are being made to replace others."""
        return [self._checked(row) for row in self._rows if not str(row[0]).endswith(NEXT)]

    def find(self, name: str) -> IndexRecord | None:
        """Return the record of an index, None where there is none of this name."""
        # The names are compared here, because a collation of SQLite's can be anybody's.
        return next((self._checked(row) for row in self._rows if same_name(row[0], name)), None)

    def get(self, name: object) -> IndexRecord:
        """Return the record of an index. Raises UnknownIndexError that lists those that exist."""
        record = self.find(name) if isinstance(name, str) else None
        if record is None:
            raise unknown_index(name, [known.name for known in self.records])
        return record

    def other_triggers(self, record: IndexRecord) -> list[str]:
        """Return the triggers on an index's chunk table that are not sqlrag's."""
        key = ("tables", record.name, record.is_over_table, record.vectors)
        return self.by_schema.once(key, lambda: check_index_tables(self._connection, record))

    @property
    def _columns(self) -> list[str]:
        sql = "SELECT name FROM main.pragma_table_info('sqlrag_indexes', 'main')"
        return self.by_schema.once(
            "columns", lambda: known_columns({name for (name,) in self._connection.execute(sql)})
        )

    @cached_property
    def _rows(self) -> list[tuple[Any, ...]]:
        if not self.exists:
            return []
        return list(
            self._connection.execute(f"SELECT {', '.join(self._columns)} FROM main.sqlrag_indexes ORDER BY name")
        )

    def _checked(self, row: Sequence[Any]) -> IndexRecord:
        record = record_of(self._columns, row)
        self.other_triggers(record)
        return record


class Registry:
    """The registry tables of one SQLite file: the database itself, or the index file of a DuckDB database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen: Contents | None = None
        self._by_schema = Known(-1)

    def look(self) -> Contents:
        """Return what the registry holds now. It is one statement where the file is as it was at the last look."""
        state = State.of(self._connection)
        if self._seen is not None and self._seen.state == state:
            return self._seen
        by_schema = self._by_schema if self._by_schema.schema == state.schema else Known(state.schema)
        contents = Contents(self._connection, state, by_schema)
        # After a ROLLBACK the same numbers may stand for other contents.
        if self._connection.getautocommit() and self._connection.txn_state() != _TXN_WRITE:
            self._seen, self._by_schema = contents, by_schema
        return contents

    def create(self) -> None:
        """Create the registry tables, or what an earlier schema lacks. The caller holds the write transaction."""
        self._connection.execute(statement("index/schema"))
        for table in ("sqlrag_ivf", "sqlrag_nprobe"):  # of schemas 2 and 3
            self._connection.execute(f"DROP TABLE IF EXISTS main.{table}")
        sql = "SELECT name FROM main.pragma_table_info('sqlrag_indexes', 'main')"
        for missing in {*COLUMNS} - {name for (name,) in self._connection.execute(sql)}:
            self._connection.execute(statement(f"index/add_{missing}"))
        self.set_meta("schema_version", str(SCHEMA_VERSION))

    def meta(self, key: str) -> str | None:
        """Return one fact about the database, None where it is not recorded."""
        return self.look().meta(key)

    def set_meta(self, key: str, value: str) -> None:
        """Record one fact about the database."""
        self._connection.execute("INSERT OR REPLACE INTO main.sqlrag_meta (key, value) VALUES (?, ?)", (key, value))

    def find(self, name: str) -> IndexRecord | None:
        """Return the record of an index, None where there is none of this name."""
        return self.look().find(name)

    def put(self, record: IndexRecord) -> None:
        """Insert or replace the record of an index."""
        places = ", ".join(f":{column}" for column in COLUMNS)
        sql = f"INSERT OR REPLACE INTO main.sqlrag_indexes ({', '.join(COLUMNS)}) VALUES ({places})"
        values: Mapping[str, str | int] = record.values()
        self._connection.execute(sql, values)

    def forget(self, name: str) -> None:
        """Forget an index, whose tables are gone."""
        self._connection.execute("DELETE FROM main.sqlrag_indexes WHERE name = ?", (name,))
        self._connection.execute("DELETE FROM main.sqlrag_candidates WHERE index_name = ?", (name,))
        for fact in ("state", "compared", "filters", "states"):
            self._connection.execute("DELETE FROM main.sqlrag_meta WHERE key = ?", (f"{fact}:{name}",))


def unknown_index(name: object, known: Sequence[str]) -> UnknownIndexError:
    """Return the error for a name that no index has; it says which names there are."""
    none = "this database has none: ingest documents or index a table"
    there_is = f"there is {', '.join(map(repr, known))}" if known else none
    return UnknownIndexError(f"no index {name!r}: {there_is}")
