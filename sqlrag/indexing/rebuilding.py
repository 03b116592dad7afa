"""Rebuilding an index beside the old one, which answers queries meanwhile, and repairing an index."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlrag.errors import InputError, NotADatabaseError, SourceGoneError, SQLError
from sqlrag.indexing.ingest import BATCH_CHUNKS, Ingestion
from sqlrag.indexing.table_indexes import add_report, sync
from sqlrag.results import IngestProgress, SyncReport
from sqlrag.store.encoders import index_chunker
from sqlrag.store.names import NEXT
from sqlrag.store.new_record import IndexOptions

if TYPE_CHECKING:
    from sqlrag.engines.base import Engine
    from sqlrag.models import Embedder
    from sqlrag.store.registry import IndexRecord

__all__ = ["reindex", "remake_codes", "repair"]


def reindex(
    engine: Engine,
    name: str,
    *,
    embedder: str | Embedder | None,
    options: IndexOptions,
    progress: Callable[[IngestProgress], None] | None = None,
) -> SyncReport:
    """Rebuild an index, and replace the old one.

    Rows that others write meanwhile are indexed by further syncs, until none remain, or until a sync indexes as many as
    the one before: others then write as fast as rows are embedded, and the new index takes its place with a backlog.
    """
    record = engine.indexes.record(name)
    new = _next_of(engine, record, embedder, options)
    engine.begin_next(record, new)
    total, before = SyncReport(), None
    while True:
        report = sync(engine, new.name, progress=progress)
        add_report(total, report)
        rows = report.added + report.changed + report.removed
        if not rows or report.backlog or (before is not None and rows >= before):
            break
        before = rows
    engine.switch(record, new)
    final = engine.indexes.record(record.name)
    engine.indexed_table(final).keep_up(lambda what, share: _tell_of_index(progress, what, share))
    total.backlog = 0
    _keep_missing(engine, final, progress)
    if not final.is_over_table:
        _finish_documents(engine, final, progress)
    elif report.backlog:
        total.backlog = engine.stale(final)
    else:  # rows that came at the last moment
        add_report(total, sync(engine, final.name, progress=progress))
    return total


def remake_codes(
    engine: Engine, record: IndexRecord, progress: Callable[[IngestProgress], None] | None = None
) -> SyncReport:
    """Make the codes of an index anew from its vectors. The report counts the rows, none of which is embedded."""
    started = time.monotonic()
    engine.remake_codes(record, lambda what, share: _tell_of_index(progress, what, share))
    rows = engine.indexes.open(record.name).counts()[0]
    return SyncReport(unchanged=rows, seconds=time.monotonic() - started)


def keep_states(
    engine: Engine, record: IndexRecord, progress: Callable[[IngestProgress], None] | None = None
) -> SyncReport:
    """Keep the states of the chunks that have none, or those of another model, some hundred in each transaction.

    A call that is stopped is continued by the next one. The report counts chunks as unchanged, since none is replaced.
    Raises InputError where the reranker does not read the states of the index's bi-encoder.
    """
    started, told = time.monotonic(), IngestProgress()
    reranker = engine.encoders.reader_of(record)
    if reranker is None:
        raise InputError(
            f"the reranker {engine.encoders.reranker.name} does not read the states of {record.embedder}, the model of "
            f"index {record.name!r}: nothing is kept for it"
        )
    with engine.states(record) as states:
        left = [*states.missing(reranker.form)]
    index, report = engine.indexes.open(record.name), SyncReport()
    for start in range(0, len(left), BATCH_CHUNKS):
        chunks = index.chunks(left[start : start + BATCH_CHUNKS])
        _, kept = reranker.encode([context + text for _, _, text, context in chunks])
        with engine.states(record, write=True) as states:
            states.put([chunk[0] for chunk in chunks], kept)
        report.unchanged += len(chunks)
        if progress is not None:
            told.chunks, told.current = report.unchanged, f"states: {start / len(left):.0%}"
            progress(told)
    with engine.states(record, write=True) as states:
        states.delete(states.left())
    report.seconds = time.monotonic() - started
    return report


def repair(engine: Engine, progress: Callable[[IngestProgress], None] | None = None) -> None:
    """Repair every index: from its own parts if that is enough, else from its source, which is never written to."""
    for record in engine.indexes.records():
        try:
            engine.check_source(record)
        except SourceGoneError:
            continue  # `check` says so; only the user can bring it back
        try:
            is_beyond_repair = not engine.repair_index(record)
        except (NotADatabaseError, SQLError):  # vec0's own tables are damaged
            is_beyond_repair = True
        if is_beyond_repair:
            reindex(engine, record.name, embedder=None, options=IndexOptions(), progress=progress)
        elif record.is_over_table:
            sync(engine, record.name, compare=True, progress=progress)
        else:
            _finish_documents(engine, record, progress)
        _keep_missing(engine, engine.indexes.record(record.name), progress)


def _keep_missing(engine: Engine, record: IndexRecord, progress: Callable[[IngestProgress], None] | None) -> None:
    """Keep the states that are missing, where they are kept."""
    if engine.encoders.reader_of(record) is not None:
        with engine.states(record) as states:
            wanted = states.are_wanted()
        if wanted:
            keep_states(engine, record, progress)


def _finish_documents(
    engine: Engine, record: IndexRecord, progress: Callable[[IngestProgress], None] | None = None
) -> None:
    """Index the documents of which some chunks are missing. Their texts are in the database."""
    embedder = engine.encoders.embedder_of(record)
    chunker = index_chunker(embedder, record)
    writer = engine.writer(record)
    Ingestion(writer, engine.encode(record), chunker, progress).documents(engine.partial_documents(record), prune=False)
    writer.keep_up(lambda _what, _share: None)


def _next_of(
    engine: Engine, record: IndexRecord, embedder: str | Embedder | None, options: IndexOptions
) -> IndexRecord:
    """Return the record of the index that will replace another."""
    chosen = engine.encoders.give(embedder) if embedder is not None else engine.encoders.embedder_of(record)
    max_tokens = min(record.max_tokens, chosen.text_window) if options.max_tokens is None else options.max_tokens
    overlap = options.overlap
    if overlap is None:  # anything but a number is refused below
        overlap = min(record.overlap, max_tokens // 2) if isinstance(max_tokens, int) else record.overlap
    settings = IndexOptions(
        max_tokens, overlap, options.tokenizer or record.tokenizer, options.vectors or record.vectors
    )
    return settings.record(
        f"{record.name}{NEXT}",
        chosen,
        source=(record.source_table, record.source_key),
        template=record.template or "{text}",
        filters=record.filters,
        tracking=record.tracking or "documents",
    )


def _tell_of_index(progress: Callable[[IngestProgress], None] | None, what: str, share: float) -> None:
    if progress is not None:
        progress(IngestProgress(current=f"index: {what} {share:.0%}"))
