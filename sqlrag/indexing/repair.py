"""`check --repair`: an index made whole again, from its own parts if that is enough, else from its source."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlrag.errors import NotADatabaseError, SourceGoneError, SQLError
from sqlrag.indexing.reindex import finish_documents, reindex
from sqlrag.indexing.table_indexes import sync
from sqlrag.store.new_record import IndexOptions

if TYPE_CHECKING:
    from sqlrag.engines.base import Engine
    from sqlrag.results import IngestProgress

__all__ = ["repair"]


def repair(engine: Engine, progress: Callable[[IngestProgress], None] | None = None) -> None:
    """Repair every index that is not whole. No table of the user's is written to."""
    for name in engine.indexes.names():
        record = engine.indexes.record(name)
        try:
            engine.check_source(record)
        except SourceGoneError:
            continue  # `check` says so; only the user can bring it back
        try:
            is_beyond_repair = not engine.repair_index(record)
        except (NotADatabaseError, SQLError):  # vec0's own tables are damaged
            is_beyond_repair = True
        if is_beyond_repair:
            reindex(engine, name, embedder=None, options=IndexOptions(), progress=progress)
        elif record.is_live:
            sync(engine, name, compare=True, progress=progress)
        else:
            finish_documents(engine, record, progress)
