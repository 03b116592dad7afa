"""What a SQLite connection knows of the changes that its indexes do not have yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlrag.engines.sqlite.row_texts import SourceRows
from sqlrag.engines.sqlite.table_schema import checked_columns
from sqlrag.engines.sqlite.triggers import Tracking
from sqlrag.errors import SourceGoneError
from sqlrag.store.source_table import source_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

    from sqlrag.engines.sqlite.functions import SQLiteIndexes
    from sqlrag.serve.model_server.remote_connection import RemoteConnection
    from sqlrag.store.registry import IndexRecord

__all__ = ["Changes"]

_STATE = (
    "SELECT total_changes(), data_version, schema_version FROM main.pragma_data_version, main.pragma_schema_version"
)
"""What changes with the content: the rows that this connection has written, whether others have committed, the schema.

https://www.sqlite.org/pragma.html#pragma_data_version
"""


class Changes:
    """Counts what is queued, and sees whether the triggers that queue it are there.

    Nothing is asked again while neither the file nor its schema has changed.
    """

    def __init__(self, connection: apsw.Connection | RemoteConnection, indexes: SQLiteIndexes) -> None:
        self._connection = connection
        self._indexes = indexes
        self._fresh: dict[IndexRecord, Any] = {}
        self._seen: dict[IndexRecord, int] = {}
        """At which version of the schema the triggers were looked at."""
        self._gaps: dict[IndexRecord, str] = {}

    def rows(self, record: IndexRecord, repair: Callable[[], bool] | None) -> int:
        """Return how many rows are queued; the triggers are looked at where the schema has changed.

        `repair` makes those that are not there, and queues what they have missed; it returns False where another
        connection is writing. None where nothing can be written.
        """
        state = self._state()
        if self._fresh.get(record) == state:
            return 0
        if record.tracking == "triggers" and (self._seen.get(record) != state[-1] or record in self._gaps):
            repaired = repair is not None and repair()
            state = self._state()
            self._note(record, None if repaired else self._look(record), state[-1])
        rows, _ = self._indexes.backlog(record)
        if not rows and record not in self._gaps and self._connection.getautocommit():
            self._fresh[record] = state
        return rows

    def _note(self, record: IndexRecord, gap: str | None, schema: int) -> None:
        """Note what was found at a version of the schema; after a ROLLBACK another schema may have it."""
        self._seen.pop(record, None)
        if self._connection.getautocommit():
            self._seen[record] = schema
        self._gaps.pop(record, None)
        if gap is not None:
            self._gaps[record] = gap

    def gap(self, record: IndexRecord) -> str | None:
        """Return why the queue may lack changes, as `rows` has last seen it."""
        return self._gaps.get(record)

    def _look(self, record: IndexRecord) -> str | None:
        followed = Tracking(self._connection, record).followed()
        try:
            checked_columns(self._connection, followed)
        except SourceGoneError as error:
            return str(error)
        if Tracking(self._connection, followed).is_there():
            return self._renumbered(followed)
        return "its triggers on the table are gone, or not those that note every change (was the table made anew?)"

    def _renumbered(self, record: IndexRecord) -> str | None:
        """Return what is said of a table whose rowids are its key, where a VACUUM may have changed them."""
        ((version,),) = self._connection.execute("PRAGMA main.schema_version")
        noted = self._indexes.registry.meta(f"compared:{record.name}")
        if not SourceRows(self._connection, source_of(record)).use_rowid() or noted == str(version):
            return None
        return (
            "its rows are known by their rowids, which VACUUM may have changed: the schema is another than at the sync"
        )

    def _state(self) -> tuple[int, int, int]:
        ((*state,),) = self._connection.execute(_STATE)
        return tuple(state)
