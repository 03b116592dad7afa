"""Opening what the SQL functions of a DuckDB connection need: index file, score cache, warnings of missing rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlrag.engines.backlog_warnings import warn_of_backlog
from sqlrag.engines.duckdb.error_translation import Raised, translated
from sqlrag.engines.duckdb.index_file import index_file_of
from sqlrag.engines.duckdb.indexes import DuckDBIndexes
from sqlrag.engines.duckdb.session import Session
from sqlrag.engines.options import ConnectionOptions
from sqlrag.store.registry import IndexRecord
from sqlrag.store.score_table import ScoreTable

if TYPE_CHECKING:
    import duckdb

    from sqlrag.store.encoders import Encoders

__all__ = ["open_session", "score_table", "warning"]


def score_table(path: str, options: ConnectionOptions) -> ScoreTable:
    """Return the score cache in the index file of a database."""
    # The index file has transactions of its own, so it can be written whatever DuckDB is doing.
    rows = None if path == ":memory:" else options.score_cache
    return ScoreTable(index_file_of(path), rows, read_only=options.read_only)


def warning(indexes: DuckDBIndexes, why: str, remedy: str) -> Callable[[IndexRecord], None]:
    """Return a function that warns of changed rows, for connections that do not index them before a statement."""

    def warn(record: IndexRecord) -> None:
        if record.is_over_table and (backlog := indexes.backlog(record)[0]):
            warn_of_backlog(record, backlog, why, remedy)

    return warn


def open_session(
    connection: duckdb.DuckDBPyConnection,
    path: str,
    encoders: Encoders,
    options: ConnectionOptions,
    *,
    scores: ScoreTable,
    raised: Raised,
) -> Session:
    """Bring the index file up to date, and return the session of a connection."""
    with translated(path, raised):
        indexes = DuckDBIndexes(connection, path, read_only=options.read_only)
        encoders.use_recorded(indexes.default_embedder())
        return Session(options.functions(indexes, encoders, scores), indexes, raised)
