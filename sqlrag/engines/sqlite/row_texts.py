"""The rows of a SQLite table that an index is over: their keys, and the columns that their texts are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlrag.store.names import in_main, quote
from sqlrag.store.source_table import Source, joined_key, key_expression

if TYPE_CHECKING:
    from sqlrag.store.registry import Connection

__all__ = ["SourceRows"]


class SourceRows:
    """Reads the rows of a source.

    Texts are read as bytes in the database's encoding, since SQLite's need not be valid Unicode. Invalid characters are
    replaced in a text, and make a key unusable (`Source.key_problem`).
    """

    def __init__(self, connection: Connection, source: Source) -> None:
        self._connection = connection
        self._source = source
        self._table = in_main(source.table)
        self._key = key_expression(source)

    def columns(self) -> list[str]:
        """Return the columns that the table has now; none if it is gone."""
        sql = "SELECT name FROM main.pragma_table_xinfo(?, 'main')"
        return [name for (name,) in self._connection.execute(sql, (self._source.table,))]

    def use_rowid(self) -> bool:
        """Tell whether the key is a rowid, which VACUUM may change."""
        return not set(self._source.key) <= set(self.columns())

    def all(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        """Yield the key and the values of the text's columns of every row."""
        return self._select()

    def values(self, source_id: Any) -> tuple[Any, ...] | None:
        """Return the values of a row's text columns, None if there is no such row."""
        where = " AND ".join(f"{quote(column)} IS ?" for column in self._source.key)
        rows = self._select(where, self._source.parts(source_id))
        # Where the key's collation takes 'a' for 'A', the other row is found, too.
        return next((values for found, values in rows if found == source_id), None)

    def keys(self, table: str, clauses: str, bindings: Sequence[Any] = ()) -> Iterator[tuple[Any, Any]]:
        """Yield a number and a key, from a table whose columns `number` and `source_id` triggers have written."""
        sql = f"SELECT number, {_raw('source_id')} FROM {table} {clauses}"
        for number, value, kind in self._connection.execute(sql, bindings):
            yield number, self._as_read(self._key_of(value, kind))

    def repeated(self) -> list[Any]:
        """Return a key that several rows have, if there is one."""
        sql = (
            f"SELECT {_raw(self._key)} FROM {self._table} WHERE {self._key} IS NOT NULL "
            f"GROUP BY {self._key} COLLATE BINARY HAVING count(*) > 1 LIMIT 1"
        )
        return [self._key_of(value, kind) for value, kind in self._connection.execute(sql)]

    def _select(self, condition: str = "true", bindings: Sequence[Any] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        for row in self._connection.execute(f"{self._select_rows} AND {condition}", bindings):
            pairs = zip(row[2::2], row[3::2], strict=True)
            yield self._key_of(row[0], row[1]), tuple(self._decoded(value, kind, "replace") for value, kind in pairs)

    @cached_property
    def _select_rows(self) -> str:
        what = ", ".join(map(_raw, [self._key, *map(quote, self._source.columns)]))
        return f"SELECT {what} FROM {self._table} WHERE ({self._source.where})"

    def _key_of(self, value: Any, kind: str) -> Any:
        # A key that is not valid Unicode stays different from all valid ones.
        return self._decoded(value, kind, "surrogateescape" if self._encoding == "UTF-8" else "surrogatepass")

    def _decoded(self, value: Any, kind: str, errors: str) -> Any:
        return value.decode(self._encoding, errors) if kind == "text" else value

    def _as_read(self, source_id: Any) -> Any:
        """Return a queued key as it is read from the source; a trigger may write one of several columns differently."""
        if self._source.is_composite and self._source.key_problem(source_id) is None:
            parts = self._source.parts(source_id)
            places = [f"?{place}" for place, _ in enumerate(parts, start=1)]
            ((source_id,),) = self._connection.execute(f"SELECT {joined_key(places)}", parts)
        return source_id

    @cached_property
    def _encoding(self) -> str:
        ((encoding,),) = self._connection.execute("PRAGMA main.encoding")
        return str(encoding)


def _raw(expression: str) -> str:
    """Return two columns of SQL: a value, with texts as bytes, and its type."""
    return (
        f"CASE typeof({expression}) WHEN 'text' THEN CAST({expression} AS BLOB) ELSE {expression} END, "
        f"typeof({expression})"
    )
