"""What `Database` gives back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

from sqlrag.values.arguments import check_count

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from sqlrag.text.documents import Unreadable

__all__ = ["Comparison", "Hit", "IndexInfo", "IngestProgress", "IngestReport", "Result", "SyncReport", "UnreadableRow"]


class Rows(Protocol):
    """The rows of one statement as an engine holds them."""

    columns: list[str]

    @property
    def types(self) -> list[str | None]:
        """The columns' types in the engine's own words."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Iterate over what is left."""

    def arrow(self) -> pa.Table:
        """Return what is left as an Arrow table."""

    def close(self) -> None:
        """Give up what is left."""


class Result:
    """The rows of a statement, read once: iterate, fetch, or take them all as Arrow or pandas."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._iterator: Iterator[tuple[Any, ...]] | None = None

    @property
    def columns(self) -> list[str]:
        """The names of the columns; empty for a statement that returns none."""
        return self._rows.columns

    @property
    def types(self) -> list[str | None]:
        """The columns' types in the engine's own words; None where SQLite has none declared, as for an expression."""
        return self._rows.types

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self._iterator is None:
            self._iterator = iter(self._rows)
        return self._iterator

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, None after the last."""
        return next(iter(self), None)

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """Return up to `size` further rows."""
        size = check_count("fetchmany", "size", size)
        return [row for _, row in zip(range(size), self, strict=False)]

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""
        return list(self)

    def close(self) -> None:
        """Give up the rows that are left, so that the statement ends here."""
        self._rows.close()

    def arrow(self) -> pa.Table:
        """Return the rows that are left as a `pyarrow.Table`."""
        return self._rows.arrow()

    def df(self) -> pd.DataFrame:
        """Return the rows that are left as a `pandas.DataFrame` (needs pandas: pip install "sqlrag[pandas]")."""
        try:
            import pandas as pd  # noqa: F401 - pyarrow would say less clearly that it is missing
        except ImportError as error:
            from sqlrag.errors import MissingDependencyError

            raise MissingDependencyError('df() needs pandas: pip install "sqlrag[pandas]"') from error
        return self.arrow().to_pandas()


@dataclass(frozen=True)
class Hit:
    """One chunk that a search found, with its place before and after reranking (from 1).

    `source_id`: the document's id, or the key of the row in the indexed table (of several columns, a JSON array).
    `metadata`: the document's, or the row's columns that the index was made with as `filters`.

    `reranked`: how many of the candidates have a score, all of them unless the search had a budget; without a score,
    a hit stands behind them as the first stage had it.
    """

    id: int
    source_id: Any
    uri: str | None
    title: str | None
    metadata: dict[str, Any]
    ordinal: int
    start_char: int
    end_char: int
    text: str
    score: float | None
    distance: float
    rank_before: int
    rank_after: int
    reranked: int


HIT_COLUMNS = tuple(field.name for field in fields(Hit))


@dataclass(frozen=True)
class Comparison:
    """The order of the candidates before and after reranking."""

    query: str
    top_k: int
    top_n: int
    candidates: list[Hit]

    @property
    def hits(self) -> list[Hit]:
        """The `top_n` after reranking, best first."""
        return self.candidates[: self.top_n]

    @property
    def pushed_out(self) -> list[Hit]:
        """Those that the first stage had among its `top_n` and the second stage has not, in the first one's order."""
        out = [hit for hit in self.candidates if hit.rank_before <= self.top_n < hit.rank_after]
        return sorted(out, key=lambda hit: hit.rank_before)


@dataclass(frozen=True)
class IndexInfo:
    """A row of `sqlrag_info()`.

    `backlog`: documents ingested in part, or rows that wait; None where changes of the table are not noticed, since its
    triggers are gone: `sync` makes them again. `cached_scores`, `cache_hits`: those of the database's score cache, None
    where it has none. `backlog_seconds`: for how long the oldest queued row has waited, None where none does.
    """

    index: str
    source: str
    documents: int
    chunks: int
    tokens: int
    truncated: int
    max_tokens: int
    overlap: int
    embedder: str
    embedder_hash: str
    dimension: int
    window: int
    reranker: str
    reranker_hash: str
    backlog: int | None
    tokenizer: str
    vectors: str
    cells: int
    nprobe: int | None
    cached_scores: int | None
    cache_hits: int | None
    backlog_seconds: float | None


@dataclass
class IngestProgress:
    """How far `ingest` is: what `progress` is called with, several times a second."""

    files_done: int = 0
    files_total: int | None = None
    bytes_done: int = 0
    bytes_total: int | None = None
    documents: int = 0
    documents_total: int | None = None
    chunks: int = 0
    tokens: int = 0
    current: str = ""


@dataclass
class IngestReport:
    """What `ingest` did: documents, chunks, the files that it could not read, those of kinds that it does not know."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    tokens: int = 0
    truncated: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class UnreadableRow:
    """A row that could not be indexed, and why; it is tried again when its text changes."""

    source_id: Any
    reason: str


@dataclass
class SyncReport:
    """What `sync` did: rows of the source, their chunks, and how many rows are still queued."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    chunks: int = 0
    tokens: int = 0
    truncated: int = 0
    backlog: int = 0
    unreadable: list[UnreadableRow] = field(default_factory=list)
    seconds: float = 0.0


def columns_of(description: Sequence[Any] | None) -> list[str]:
    """Return the column names of a DB-API cursor description."""
    return [str(column[0]) for column in description or ()]
