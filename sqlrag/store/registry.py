"""Which indexes a database holds, and with which model and chunking each was made."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any, Protocol

from sqlrag.errors import InputError, NotADatabaseError, SchemaVersionError, UnknownIndexError
from sqlrag.store.names import NEXT, check_index_name, is_internal, same_name
from sqlrag.store.precision import check_vectors
from sqlrag.store.schema_check import OwnTables
from sqlrag.store.source_table import TRACKING, check_template, key_columns, template_columns
from sqlrag.store.statements import statement
from sqlrag.store.tokenizers import check_tokenizer

__all__ = [
    "SCHEMA_VERSION",
    "Connection",
    "IndexRecord",
    "Registry",
    "check_schema_version",
    "known_columns",
    "record_of",
]

SCHEMA_VERSION = 3
"""The layout of the tables that this version writes; a database says which one it has."""


class Connection(Protocol):
    """What the index needs of a SQLite connection.

    Reading: apsw's and the standard library's both have it. Writing is apsw's, which runs scripts of several
    statements and opens no transactions of its own.
    """

    def execute(self, statement: str, bindings: Any = ..., /) -> Iterable[Any]:
        """Run a statement and return its rows."""


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


class Registry:
    """The registry tables of one SQLite file: the database itself, or the index file of a DuckDB database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._own = OwnTables(connection)

    def exists(self) -> bool:
        """Tell whether this file holds sqlrag's tables. Raises NotADatabaseError for others of their names."""
        self._own.check_registry()
        sql = "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'sqlrag_meta'"
        return bool(list(self._connection.execute(sql)))

    def check_version(self, path: str) -> None:
        """Raise SchemaVersionError if a newer sqlrag made this file."""
        check_schema_version(self.meta("schema_version"), path)

    def is_current(self) -> bool:
        """Tell whether the registry tables are there, of this schema."""
        return self.meta("schema_version") == str(SCHEMA_VERSION)

    def create(self) -> None:
        """Create the registry tables, or what an earlier schema lacks. The caller holds the write transaction."""
        self._connection.execute(statement("index/schema"))
        for missing in set(COLUMNS) - self._columns():
            self._connection.execute(statement(f"index/add_{missing}"))
        self.set_meta("schema_version", str(SCHEMA_VERSION))

    def meta(self, key: str) -> str | None:
        """Return one fact about the database, None where it is not recorded."""
        if not self.exists():
            return None
        rows = list(self._connection.execute("SELECT value FROM main.sqlrag_meta WHERE key = ?", (key,)))
        return str(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: str) -> None:
        """Record one fact about the database."""
        self._connection.execute("INSERT OR REPLACE INTO main.sqlrag_meta (key, value) VALUES (?, ?)", (key, value))

    def names(self) -> list[str]:
        """Return the names of the indexes, sorted; without those that are being made in the place of others."""
        return [record.name for record in self.records()]

    def records(self) -> list[IndexRecord]:
        """Return the records of these indexes."""
        if not self.exists():
            return []
        return [record for record in self._records() if not record.name.endswith(NEXT)]

    def find(self, name: str) -> IndexRecord | None:
        """Return the record of an index, None where there is none of this name."""
        if not self.exists():
            return None
        return next(iter(self._records(name)), None)

    def get(self, name: object) -> IndexRecord:
        """Return the record of an index. Raises UnknownIndexError that lists those that exist."""
        record = self.find(name) if isinstance(name, str) else None
        if record is None:
            raise unknown_index(name, self.names())
        return record

    def _records(self, name: str | None = None) -> list[IndexRecord]:
        """Return the records of all indexes, or of the one of a name: compared here, a collation can be anybody's."""
        columns = known_columns(self._columns())
        sql = f"SELECT {', '.join(columns)} FROM main.sqlrag_indexes ORDER BY name"
        rows = [row for row in self._connection.execute(sql) if name is None or same_name(row[0], name)]
        records = [record_of(columns, row) for row in rows]
        for record in records:
            self._own.other_triggers(record)
        return records

    def _columns(self) -> set[str]:
        sql = "SELECT name FROM main.pragma_table_info('sqlrag_indexes', 'main')"
        return {name for (name,) in self._connection.execute(sql)}

    def other_triggers(self, record: IndexRecord) -> list[str]:
        """Return the triggers on an index's chunk table that are not sqlrag's."""
        return self._own.other_triggers(record)

    def put(self, record: IndexRecord) -> None:
        """Insert or replace the record of an index."""
        places = ", ".join(f":{column}" for column in COLUMNS)
        sql = f"INSERT OR REPLACE INTO main.sqlrag_indexes ({', '.join(COLUMNS)}) VALUES ({places})"
        values: Mapping[str, str | int] = record.values()
        self._connection.execute(sql, values)

    def forget(self, name: str) -> None:
        """Forget an index, whose tables are gone."""
        self._connection.execute("DELETE FROM main.sqlrag_indexes WHERE name = ?", (name,))
        for table in ("sqlrag_ivf", "sqlrag_nprobe"):
            self._connection.execute(f"DELETE FROM main.{table} WHERE index_name = ?", (name,))
        for fact in ("state", "compared", "filters"):
            self._connection.execute("DELETE FROM main.sqlrag_meta WHERE key = ?", (f"{fact}:{name}",))


def unknown_index(name: object, known: Sequence[str]) -> UnknownIndexError:
    """Return the error for a name that no index has; it says which names there are."""
    none = "this database has none: ingest documents or index a table"
    there_is = f"there is {', '.join(map(repr, known))}" if known else none
    return UnknownIndexError(f"no index {name!r}: {there_is}")
