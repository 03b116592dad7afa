"""An index made anew beside the old one, with another model: begun, gone on with, and put in its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlrag.engines.sqlite.indexed_table import SQLiteLive
from sqlrag.engines.sqlite.repair import mark_partial
from sqlrag.engines.sqlite.table_schema import describe, key_type_of
from sqlrag.store.names import in_main
from sqlrag.store.registry import IndexRecord, Registry
from sqlrag.store.statements import made_in_main, statement
from sqlrag.store.writer import IndexWriter, immediate

if TYPE_CHECKING:
    import apsw

__all__ = ["begin_next", "drop_index", "switch"]


def begin_next(connection: apsw.Connection, path: str, old: IndexRecord, new: IndexRecord) -> None:
    """Make the index that is to take another's place, every text queued; one that was begun the same way is kept."""
    registry = Registry(connection)
    with immediate(connection):
        begun = registry.find(new.name)
        if begun == new:
            return
        if begun is not None:
            SQLiteLive(connection, path, begun).drop()
        SQLiteLive(connection, path, new).create(_source_type(connection, old))
        # Ids of chunks are never used again.
        connection.execute(
            "INSERT INTO main.sqlite_sequence (name, seq) VALUES (?, ?)",
            (new.name, IndexWriter(connection, old).next_id() - 1),
        )


def switch(connection: apsw.Connection, path: str, old: IndexRecord, new: IndexRecord) -> None:
    """Put an index in the place of the old one, in one transaction.

    What is still queued stays so: the index takes its backlog along. Documents that have changed since are ingested in
    part then.
    """
    made = SQLiteLive(connection, path, new)
    with immediate(connection):
        changed = [] if old.is_live else made.differences()
        source_type = _source_type(connection, old)
        ids = IndexWriter(connection, new).next_id() - 1
        drop_index(connection, path, old)
        final = replace(new, name=old.name, template=old.template, tracking=old.tracking, version=old.version)
        if final.is_live:
            SQLiteLive(connection, path, final).create(source_type, queue=False)
            for part in ("rows", "queue"):
                connection.execute(
                    f"INSERT INTO {in_main(f'{old.name}_{part}')} SELECT * FROM {in_main(f'{new.name}_{part}')}"
                )
        else:
            IndexWriter(connection, final).create(source_type)
        vectors = statement(f"index/switch_{final.vectors}", index=old.name)
        with _without_insert_trigger(connection, old.name):
            connection.execute(statement("index/switch", index=old.name, vectors=vectors))
        connection.execute("UPDATE main.sqlite_sequence SET seq = ? WHERE name = ?", (ids, old.name))
        made.drop()
        mark_partial(connection, final, changed)
        _move_default(Registry(connection), old, final)


@contextmanager
def _without_insert_trigger(connection: apsw.Connection, index: str) -> Iterator[None]:
    """Let the body insert chunks whose words are in the full text already."""
    trigger = f"{index}_after_insert"
    ((sql,),) = connection.execute("SELECT sql FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?", (trigger,))
    connection.execute(f"DROP TRIGGER {in_main(trigger)}")
    yield
    connection.execute(made_in_main(sql))


def drop_index(connection: apsw.Connection, path: str, record: IndexRecord) -> None:
    """Drop an index's tables and triggers; documents stay. The caller holds the write transaction."""
    if record.is_live:
        SQLiteLive(connection, path, record).drop()
    else:
        IndexWriter(connection, record).drop()


def _source_type(connection: apsw.Connection, record: IndexRecord) -> str:
    table = describe(connection, record.source_table)
    return key_type_of(table.key, table.types)


def _move_default(registry: Registry, old: IndexRecord, new: IndexRecord) -> None:
    """Make the new model the database's own where the old one was and no index has it any more."""
    if registry.meta("embedder") == old.embedder:
        others = (registry.get(name).embedder for name in registry.names())
        if old.embedder not in others:
            registry.set_meta("embedder", new.embedder)
