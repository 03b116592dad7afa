"""What is kept of an index's chunks for a reranker that reads states: the table `<index>_states` of a SQLite file.

Of a DuckDB database that is the index file. What is kept can always be made again from the texts, and a chunk of which
nothing is kept is encoded when it is reranked: nothing depends on this table but time. A chunk's id is never used
again, so what is left of a chunk that is gone does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlrag.errors import InputError
from sqlrag.store.names import in_main
from sqlrag.store.statements import statement
from sqlrag.values.arguments import shown

if TYPE_CHECKING:
    from sqlrag.store.registry import Connection, IndexRecord

__all__ = ["COMPACT", "NONE", "KeptStates", "check_states"]

COMPACT, NONE = "compact", "none"
"""The values of the option `states`."""


def check_states(value: object) -> str | None:
    """Return the option `states`, None where it was not given. Raises InputError for anything else."""
    if value is None or (isinstance(value, str) and value in (COMPACT, NONE)):
        return value
    raise InputError(f"states is {shown(value)}: it is {COMPACT!r} or {NONE!r}")


class KeptStates:
    """The states of one index. The caller of a method that writes holds the transaction."""

    def __init__(self, connection: Connection, record: IndexRecord) -> None:
        self._connection = connection
        self._name = record.name
        self._chunks, self._table = in_main(record.name), in_main(f"{record.name}_states")

    def exists(self) -> bool:
        """Tell whether anything may be kept. A table of the user's of that name has other columns."""
        sql = "SELECT name FROM main.pragma_table_info(?, 'main') ORDER BY cid"
        return [name for (name,) in self._connection.execute(sql, (f"{self._name}_states",))] == ["id", "states"]

    def are_wanted(self) -> bool:
        """Tell whether the user has not said that nothing is to be kept."""
        sql = "SELECT 1 FROM main.sqlrag_meta WHERE key = ? AND value = ?"
        return not list(self._connection.execute(sql, (f"states:{self._name}", NONE)))

    def choose(self, states: str) -> None:
        """Note whether states are to be kept; with "none" those that are kept are deleted."""
        if states == NONE:
            self.drop()
        sql = "INSERT OR REPLACE INTO main.sqlrag_meta (key, value) VALUES (?, ?)"
        self._connection.execute(sql, (f"states:{self._name}", states))

    def read(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Return what is kept of these chunks, by their ids."""
        sql = f"SELECT id, states FROM {self._table} WHERE id IN (SELECT value FROM main.json_each(?))"
        found = self._connection.execute(sql, (json.dumps(list(ids)),))
        return {id_: states for id_, states in found if isinstance(states, bytes)}

    def put(self, ids: Sequence[int], states: Sequence[bytes]) -> None:
        """Keep the states of chunks; a chunk that is gone is left out."""
        self._connection.execute(statement("index/create_states", index=self._name))
        sql = (
            f"INSERT OR REPLACE INTO {self._table} (id, states) "
            f"SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM {self._chunks} WHERE id = ?1)"
        )
        for pair in zip(ids, states, strict=True):
            self._connection.execute(sql, pair)

    def delete(self, ids: Sequence[int]) -> None:
        """Delete the states of chunks."""
        if self.exists():
            sql = f"DELETE FROM {self._table} WHERE id IN (SELECT value FROM main.json_each(?))"
            self._connection.execute(sql, (json.dumps(list(ids)),))

    def take_over(self, name: str) -> None:
        """Take the states of another index, whose chunks this one has."""
        other = in_main(f"{name}_states")
        if list(self._connection.execute("SELECT 1 FROM main.pragma_table_info(?, 'main')", (f"{name}_states",))):
            self._connection.execute(statement("index/create_states", index=self._name))
            self._connection.execute(f"INSERT INTO {self._table} SELECT id, states FROM {other}")

    def drop(self) -> None:
        """Delete the table."""
        if self.exists():
            self._connection.execute(f"DROP TABLE {self._table}")

    def missing(self, begins: bytes) -> list[int]:
        """Return the chunks of which nothing is kept that `begins` so, as all does that the present reranker keeps."""
        kept = f"WHERE id NOT IN (SELECT id FROM {self._table} WHERE substr(states, 1, ?) = ?)"
        sql = f"SELECT id FROM {self._chunks} {kept if self.exists() else ''} ORDER BY id"
        bindings = (len(begins), begins) if self.exists() else ()
        return [id_ for (id_,) in self._connection.execute(sql, bindings)]

    def left(self) -> list[int]:
        """Return the ids of chunks that are gone, and of which something is still kept."""
        sql = f"SELECT id FROM {self._table} WHERE id NOT IN (SELECT id FROM {self._chunks})"
        return [id_ for (id_,) in self._connection.execute(sql)] if self.exists() else []

    def bytes(self) -> int | None:
        """Return how many bytes are kept, None where nothing is."""
        if not self.exists():
            return None
        ((size,),) = self._connection.execute(f"SELECT coalesce(sum(length(states)), 0) FROM {self._table}")
        return int(size)
