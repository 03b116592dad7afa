"""The changes of tables that the indexes of a SQLite connection do not have yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.engines.sqlite.triggers import Tracking
from sqlrag.errors import SourceGoneError
from sqlrag.store.source_table import source_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

    from sqlrag.engines.sqlite.functions import SQLiteIndexes
    from sqlrag.serve.model_server.remote_connection import RemoteConnection
    from sqlrag.store.registry import Contents, IndexRecord, State

__all__ = ["Changes"]


class Changes:
    """Counts the rows that are queued, and checks that the triggers which queue them are there.

    Neither is done again while the file and its schema stay the same.
    """

    def __init__(self, connection: apsw.Connection | RemoteConnection, indexes: SQLiteIndexes) -> None:
        self._connection = connection
        self._indexes = indexes
        self._fresh: dict[IndexRecord, State] = {}
        """The state of the file in which nothing was queued for an index."""
        self._seen: dict[IndexRecord, int] = {}
        """The version of the schema at which an index's triggers were last checked."""
        self._gaps: dict[IndexRecord, str] = {}

    def is_fresh(self, record: IndexRecord, contents: Contents) -> bool:
        """Tell, without a statement, whether an index is known to lack nothing in a state of the file."""
        return not record.is_over_table or self._fresh.get(record) == contents.state

    def rows(self, record: IndexRecord, repair: Callable[[], bool] | None) -> int:
        """Return how many rows are queued; the triggers are checked where the schema has changed.

        `repair` makes the triggers that are missing and queues what was missed; it returns False where another
        connection is writing. None: nothing can be written.
        """
        contents = self._indexes.look()
        if self.is_fresh(record, contents):
            return 0
        state = contents.state
        if record.tracking == "triggers" and (self._seen.get(record) != state.schema or record in self._gaps):
            gap, is_sound = self._checked(record, state.schema)
            if not is_sound and repair is not None:
                repaired = repair()
                state = self._indexes.look().state
                gap = None if repaired else self._checked(record, state.schema)[0]
            self._note(record, gap, state.schema)
        rows, _ = self._indexes.backlog(record)
        if not rows and record not in self._gaps and self._connection.getautocommit():
            self._fresh[record] = state
        return rows

    def _note(self, record: IndexRecord, gap: str | None, schema: int) -> None:
        """Note what was found at a version of the schema; after a ROLLBACK another schema may have that number."""
        self._seen.pop(record, None)
        if self._connection.getautocommit():
            self._seen[record] = schema
        self._gaps.pop(record, None)
        if gap is not None:
            self._gaps[record] = gap

    def gap(self, record: IndexRecord) -> str | None:
        """Return why the queue may lack changes, as `rows` found it last; None where it lacks none."""
        return self._gaps.get(record)

    def _checked(self, record: IndexRecord, schema: int) -> tuple[str | None, bool]:
        """Return why the queue may lack changes, and whether a repair has nothing to do."""
        followed = self._indexes.followed(record)
        try:
            columns = self._indexes.columns(followed)
        except SourceGoneError as error:
            return str(error), False
        triggers = Tracking(self._connection, followed)
        if not triggers.is_there():
            why = "its triggers on the table are gone, or not those that note every change (was the table made anew?)"
            return why, False
        use_rowid = not set(source_of(followed).key) <= set(columns)
        if use_rowid and self._indexes.registry.meta(f"compared:{record.name}") != str(schema):
            why = "its rows are known by their rowids, which VACUUM may have changed"
            return f"{why}: the schema is another than at the sync", False
        return None, followed == record and triggers.sees_all
