"""Ordinary SQL indexes of the columns that an index has as filters. They are made and dropped together with it.

Which ones were made is recorded: the name does not tell, since the user may have an index of such a name.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING

from sqlrag.store.names import folded, quote
from sqlrag.store.registry import Registry

if TYPE_CHECKING:
    import apsw

    from sqlrag.store.registry import IndexRecord

__all__ = ["FilterIndexes"]

_NAME = r'"(?:[^"]|"")+"'
"""A pattern of any quoted name."""


class FilterIndexes:
    """The SQL indexes that one index has on its source."""

    def __init__(self, connection: apsw.Connection, record: IndexRecord) -> None:
        self._connection = connection
        self._record = record
        self._registry = Registry(connection)
        self._fact = f"filters:{record.name}"

    def make(self) -> None:
        """Index each filter column, unless one of the table's indexes begins with it already."""
        record, made = self._record, []
        taken = {folded(name) for (name,) in self._connection.execute("SELECT name FROM main.sqlite_schema")}
        for column in json.loads(record.filters):
            if folded(column) in self._indexed() or column == record.source_key:
                continue
            wanted = f"{record.name}_filter_{column}"
            names = itertools.chain([wanted], (f"{wanted}_{number}" for number in itertools.count(2)))
            name = next(name for name in names if folded(name) not in taken)
            self._connection.execute(
                f"CREATE INDEX main.{quote(name)} ON {quote(record.source_table)} ({quote(column)})"
            )
            made.append(name)
        self._registry.set_meta(self._fact, json.dumps(made))

    def drop(self) -> None:
        """Drop the indexes that were made; one that the user has replaced stays."""
        for name in self._made():
            self._connection.execute(f"DROP INDEX main.{quote(name)}")

    def _made(self) -> list[str]:
        """Return the indexes that were made and have not changed, except for renamed tables and columns."""
        there = dict(self._connection.execute("SELECT name, sql FROM main.sqlite_schema WHERE type = 'index'"))
        recorded = self._registry.meta(self._fact)
        names = self._as_named() if recorded is None else json.loads(recorded)
        return [name for name in names if _of_a_column(name, _NAME, _NAME).fullmatch(there.get(name) or "")]

    def _as_named(self) -> list[str]:
        """Return the indexes that look as an earlier version made them, which kept no record."""
        record = self._record
        columns = "|".join(re.escape(quote(column)) for column in json.loads(record.filters))
        sql = "SELECT name, sql FROM main.sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
        return [
            name
            for name, text in self._connection.execute(sql, (record.source_table,))
            if name.startswith(f"{record.name}_filter_")
            and _of_a_column(name, re.escape(quote(record.source_table)), columns).fullmatch(text)
        ]

    def _indexed(self) -> set[str]:
        """Return the columns that the table's indexes begin with."""
        sql = (
            "SELECT c.name FROM main.pragma_index_list(?, 'main') AS i, main.pragma_index_info(i.name, 'main') AS c "
            "WHERE c.seqno = 0"
        )
        rows = self._connection.execute(sql, (self._record.source_table,))
        return {folded(name) for (name,) in rows if name is not None}


def _of_a_column(name: str, table: str, column: str) -> re.Pattern[str]:
    """Return a pattern of the definition that this module writes, given patterns of quoted names."""
    return re.compile(rf"CREATE INDEX {re.escape(quote(name))} ON (?:{table}) \((?:{column})\)")
