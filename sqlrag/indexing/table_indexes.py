"""Making, syncing, altering and dropping indexes over tables of the user's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlrag.engines.changed_rows import ALL, Limits
from sqlrag.errors import InputError, SourceGoneError
from sqlrag.indexing.sync import Sync
from sqlrag.results import IngestProgress, SyncReport
from sqlrag.store.encoders import index_chunker
from sqlrag.store.full_text import check_tokenizer
from sqlrag.store.names import check_new_index_name, same_name
from sqlrag.store.new_record import IndexOptions, check_made_with
from sqlrag.store.source_table import key_text, made_template
from sqlrag.values.arguments import several, shown

if TYPE_CHECKING:
    from sqlrag.engines.base import Engine
    from sqlrag.models import Embedder
    from sqlrag.store.registry import IndexRecord
    from sqlrag.store.source_table import SourceTable

__all__ = ["add_report", "alter_index", "check_over_documents", "create_index", "sync"]


def create_index(
    engine: Engine,
    name: str,
    table: str,
    text: str | Sequence[str],
    *,
    key: str | Sequence[str] | None,
    filters: Sequence[str],
    options: IndexOptions,
    embedder: str | Embedder | None,
) -> None:
    """Make an index with every row of the table queued. An index that was made with the same arguments stays."""
    check_new_index_name(name)
    source = engine.source_table(table)
    template = made_template(text, source.columns, source.name)
    columns = _columns(source, "filters", filters)
    keys = _key(source, key)
    chosen = engine.encoders.give(embedder) if embedder is not None else None
    if any(same_name(name, existing) for existing in engine.indexes.names()):
        record = engine.indexes.record(name)
        if record.is_over_table:
            record = engine.indexed_table(record).record  # with the present names of the source and its columns
        check_made_with(record, options, chosen)
        made = (record.source_table, record.source_key, record.template, record.filters)
        if made != (source.name, key_text(keys), template, json.dumps(columns)):
            raise InputError(
                f"index {record.name!r} is there already, over {record.source_table} with the key {record.source_key}, "
                f"the text {record.template!r} and the filters {record.filters}: "
                "drop it (drop_index), change it (alter_index), or take another name"
            )
        engine.choose_states(record, options.states)
        return
    record = options.record(
        name,
        chosen or engine.encoders.embedder,
        source=(source.name, key_text(keys)),
        template=template,
        filters=json.dumps(columns),
        tracking=engine.tracking_of(source),
    )
    engine.create_index(record)
    engine.choose_states(record, options.states)


def sync(
    engine: Engine,
    index: str | None,
    *,
    compare: bool = False,
    limits: Limits = ALL,
    progress: Callable[[IngestProgress], None] | None = None,
) -> SyncReport:
    """Bring one index over a table up to date, or all of them.

    `limits`: how much of each is indexed. A run that does not index everything compares no rows of a view, and none of
    a table with triggers.
    """
    names = engine.indexes.names() if index is None else [index]
    records = [engine.indexes.record(name) for name in names]
    if index is not None and not records[0].is_over_table:
        raise InputError(
            f"index {records[0].name!r} is over ingested documents: to bring in what has changed, ingest them again"
        )
    total = SyncReport()
    gone: SourceGoneError | None = None
    for record in records:
        if not record.is_over_table:
            continue
        try:
            add_report(total, _sync_one(engine, record, compare=compare, limits=limits, progress=progress))
        except SourceGoneError as error:
            gone = gone or error  # first the other indexes
    if gone is not None:
        raise gone
    return total


def _sync_one(
    engine: Engine,
    record: IndexRecord,
    *,
    compare: bool,
    limits: Limits,
    progress: Callable[[IngestProgress], None] | None,
) -> SyncReport:
    table = engine.indexed_table(record)
    table.prepare(compare=compare or (limits.is_all and record.tracking != "triggers"))
    embedder = engine.encoders.embedder_of(record)
    chunker = index_chunker(embedder, record)
    report = Sync(table, engine.encode(record), chunker, progress, limits).run()
    if report.backlog and limits.is_all:
        now = engine.indexes.record(record.name)
        if not now.is_as(table.record):  # another process has rebuilt it, and no more rows were written
            report.backlog = 0
            add_report(report, _sync_one(engine, now, compare=False, limits=limits, progress=progress))
    return report


def alter_index(
    engine: Engine,
    record: IndexRecord,
    *,
    text: str | Sequence[str] | None,
    filters: Sequence[str] | None,
    tokenizer: str | None,
) -> None:
    """Change the text, filters or tokenizer of an index. If the text changes, every row is queued."""
    new = record
    if text is not None or filters is not None:
        if not record.is_over_table:
            raise InputError(f"index {record.name!r} is over ingested documents: only its tokenizer can be changed")
        source = engine.source_table(record.source_table)
        if text is not None:
            new = replace(new, template=made_template(text, source.columns, source.name))
        if filters is not None:
            new = replace(new, filters=json.dumps(_columns(source, "filters", filters)))
    if tokenizer is not None:
        new = replace(new, tokenizer=check_tokenizer(tokenizer))
    if new != record:
        engine.alter(record, new)


def check_over_documents(record: IndexRecord) -> None:
    """Raise InputError for an index over a table: documents cannot be ingested into it."""
    if record.is_over_table:
        raise InputError(
            f"index {record.name!r} is over the table {record.source_table}: write rows to that table, "
            "or ingest into another index"
        )


def add_report(total: SyncReport, one: SyncReport) -> None:
    """Add the counts of one report to those of another."""
    for name, value in vars(one).items():
        setattr(total, name, getattr(total, name) + value)


def _columns(source: SourceTable, what: str, names: Sequence[str]) -> list[str]:
    """Return columns as the table spells them. Raises InputError for unknown ones."""
    names = several(what, names, f"columns of {source.name}")
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{what} is {shown(names)}: it takes a list of columns of {source.name}")
    known = {column.lower(): column for column in source.columns}
    for name in names:
        if name.lower() not in known:
            raise InputError(
                f"{what} names a column {name!r} that {source.name} does not have: it has {', '.join(source.columns)}"
            )
    return [known[name.lower()] for name in names]


def _key(source: SourceTable, key: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the columns of a source's key: a table has its own, that of a view is given by the caller."""
    if source.kind == "virtual" and isinstance(key, str) and key.lower() == "rowid":
        return ("rowid",)  # by which FTS5 finds a row without a scan
    given = None if key is None else tuple(_columns(source, "key", [key] if isinstance(key, str) else key))
    if source.key and given is not None and given != source.key:
        raise InputError(f"key is {key!r}: {source.name} has the key {', '.join(source.key)}, leave it out")
    found = source.key or given
    if not found:
        raise InputError(
            f"{source.name} is a {source.kind} without a primary key: "
            "give the columns that tell its rows apart, as key= (--key)"
        )
    if len(found) == 1 and found[0].startswith("["):
        raise InputError(f"key is the column {found[0]!r}: rename it, or index a view; a bracket begins a list here")
    return found
