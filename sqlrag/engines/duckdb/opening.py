"""What the SQL functions of a DuckDB connection need: the index file, the score cache, a warning of missing rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlrag.engines.backlog_warnings import warn_of_backlog
from sqlrag.engines.duckdb.error_translation import Raised, translated
from sqlrag.engines.duckdb.index_file import index_file_of
from sqlrag.engines.duckdb.indexes import DuckDBIndexes
from sqlrag.engines.duckdb.session import Session
from sqlrag.engines.functions import Functions
from sqlrag.store.registry import IndexRecord
from sqlrag.store.score_table import ScoreTable

if TYPE_CHECKING:
    import duckdb

    from sqlrag.store.encoders import Encoders
    from sqlrag.store.scores import ScoreCache

__all__ = ["open_session", "score_table", "warning"]


def score_table(path: str, rows: int | None, *, read_only: bool) -> ScoreTable:
    """Return the score cache in the index file of a database; `rows`: how many scores it keeps, None for no cache."""
    # The index file has transactions of its own, so it can be written whatever DuckDB is doing.
    return ScoreTable(index_file_of(path), None if path == ":memory:" else rows, read_only=read_only)


def warning(indexes: DuckDBIndexes, why: str, remedy: str) -> Callable[[IndexRecord], None]:
    """Return a function that warns if an index lacks rows, for connections that index none before a statement."""

    def warn(record: IndexRecord) -> None:
        if record.is_over_table and (backlog := indexes.backlog(record)[0]):
            warn_of_backlog(record, backlog, why, remedy)

    return warn


def open_session(
    connection: duckdb.DuckDBPyConnection,
    path: str,
    encoders: Encoders,
    rerank_limit: int,
    raised: Raised,
    *,
    read_only: bool,
    nprobe: int | None,
    score_cache: ScoreCache,
) -> Session:
    """Bring the index file up to date, and return what the SQL functions of a connection work with."""
    with translated(path, raised):
        indexes = DuckDBIndexes(connection, path, read_only=read_only)
        encoders.use_recorded(indexes.default_embedder())
        return Session(Functions(indexes, encoders, rerank_limit, score_cache, nprobe), indexes, raised)
