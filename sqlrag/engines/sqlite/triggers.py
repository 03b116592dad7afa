"""The triggers that queue every change of a SQLite table, whichever client makes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlrag.engines.sqlite.row_texts import SourceRows
from sqlrag.engines.sqlite.table_schema import Unique, unique_constraints
from sqlrag.store.names import folded, in_main, quote
from sqlrag.store.source_table import ROWID, queued_key, renamed, source_of
from sqlrag.store.statements import made_in_main, statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlrag.store.registry import Connection, IndexRecord

__all__ = ["Tracking"]

_TRACKED = re.compile(r'old\.("(?:[^"]|"")+") COLLATE BINARY IS NOT new\.')
_NOW = "julianday()"
_EARLIER = re.compile(r"julianday\('now'\)")
"""How triggers ask for the time, now and in earlier versions: parsing 'now' cost writers more than the clock."""

_TRIGGER = re.compile(r"CREATE TRIGGER main\.((\w+).*?\nEND);", re.DOTALL)


class Tracking:
    """The triggers of one index on its source."""

    def __init__(self, connection: Connection, record: IndexRecord) -> None:
        self._connection = connection
        self._record = record
        self._source = source_of(record)

    @property
    def sees_all(self) -> bool:
        """Whether the triggers see every change: they miss a REPLACE caused by a UNIQUE index on an expression."""
        return not unique_constraints(self._connection, self._source.table, self._source.key)[1]

    def followed(self) -> IndexRecord:
        """Return the record with the present names of the source and its columns, if the recorded ones are gone.

        SQLite renames them in triggers, too (https://www.sqlite.org/lang_altertable.html).
        """
        columns = SourceRows(self._connection, self._source).columns()
        if set(self._tracked()) - {*ROWID, *columns}:
            sql = "SELECT tbl_name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?"
            for table, text in self._connection.execute(sql, (f"{self._record.name}_source_update",)):
                names = [name[1:-1].replace('""', '"') for name in _TRACKED.findall(text)]
                if table == self._source.table or not columns:
                    return renamed(self._record, table, dict(zip(self._tracked(), names, strict=False)))
        return self._record

    def is_there(self) -> bool:
        """Whether the triggers queue every change of the table as it is now. Those of earlier versions do, too."""
        needed = self._needed()
        return {name: _EARLIER.sub(_NOW, sql) for name, sql in self._present(needed).items()} == needed

    def is_newest(self) -> bool:
        """Whether the triggers are as this version makes them."""
        needed = self._needed()
        return self._present(needed) == needed

    def make(self) -> None:
        """Make the triggers. The caller holds the write transaction."""
        self.drop()
        for sql in self._needed().values():
            self._connection.execute(made_in_main(sql))

    def names(self) -> list[str]:
        """Return the triggers that have names of this index's triggers, whoever made them."""
        return list(self._so_called())

    def drop(self) -> None:
        """Drop the triggers. The caller holds the write transaction."""
        for name in self._present(self._needed()):
            self._connection.execute(f"DROP TRIGGER {in_main(name)}")

    def _tracked(self) -> list[str]:
        """Return the columns whose changes are queued, each once."""
        return list(dict.fromkeys([*self._source.key, *self._source.columns]))

    def _present(self, needed: Mapping[str, str]) -> dict[str, str]:
        """Return this index's triggers by name, on whichever table, even if somebody has changed them.

        A trigger with another number that does not fill the queue is the user's own.
        """
        fills = f"INSERT INTO {self._record.name}_queue "
        names = set(map(folded, needed))
        return {name: text for name, text in self._so_called().items() if fills in text or folded(name) in names}

    def _so_called(self) -> dict[str, str]:
        sql = "SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger'"
        own = re.compile(rf"{self._record.name}_source_(insert|update|delete)(_\d+)?", re.IGNORECASE)
        return {name: text for name, text in self._connection.execute(sql) if own.fullmatch(name)}

    def _needed(self) -> dict[str, str]:
        source, name = self._source, self._record.name
        new, old = (queued_key(source, prefix) for prefix in ("new.", "old."))
        script = statement(
            "index/tracking",
            index=name,
            table=quote(source.table),
            new_key=new,
            old_key=old,
            changed=" OR ".join(map(_differs, self._tracked())),
            moved=" OR ".join(map(_differs, source.key)),
        )
        for number, unique in enumerate(unique_constraints(self._connection, source.table, source.key)[0], start=1):
            script += self._for_unique(number, unique)
        return {found[2]: f"CREATE TRIGGER {found[1]}" for found in _TRIGGER.finditer(script)}

    def _for_unique(self, number: int, unique: Unique) -> str:
        conflict = " AND ".join(f"{quote(name)} = new.{quote(name)} COLLATE {quote(coll)}" for name, coll in unique)
        return statement(
            "index/tracking_unique",
            index=self._record.name,
            number=number,
            table=quote(self._source.table),
            key=queued_key(self._source),
            changed=" OR ".join(_differs(name) for name, _ in unique),
            conflict=conflict,
        )


def _differs(column: str) -> str:
    return f"old.{quote(column)} COLLATE BINARY IS NOT new.{quote(column)}"
