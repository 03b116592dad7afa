"""`sqlrag index`, `sync` and `reindex`: make a table searchable, and keep it so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from sqlrag.cli.options import (
    backend_option,
    chosen_models,
    database_argument,
    index_option,
    json_option,
    model_options,
    new_index_options,
    print_json,
    states_option,
)
from sqlrag.store.precision import VECTORS

if TYPE_CHECKING:
    from sqlrag.database import Database
    from sqlrag.results import SyncReport

__all__ = ["index", "reindex", "sync"]

WATCH_SECONDS = 1.0
"""Seconds between two looks of `sqlrag sync --watch` for changed rows."""


@click.command()
@database_argument
@click.argument("columns", nargs=-1, metavar="TABLE.COLUMN...")
@click.option("--name", metavar="NAME", help="Name of the index and its chunk table; by default TABLE_chunks.")
@click.option("--template", metavar="TEXT", help="Text of a row, made of columns: '{title}: {body}'. Give TABLE only.")
@click.option("--key", multiple=True, metavar="COLUMN", help="Key column of a view; may be repeated.")
@click.option(
    "--filter-column",
    "filters",
    multiple=True,
    metavar="COLUMN",
    help="A column that filters often use: it gets a SQL index and is shown with each hit; may be repeated.",
)
@new_index_options
@click.option(
    "--drop", metavar="NAME", help="Drop this index instead. Its table stays as it is; ingested documents are removed."
)
@json_option
def index(
    *,
    db: str,
    columns: tuple[str, ...],
    name: str | None,
    template: str | None,
    key: tuple[str, ...],
    filters: tuple[str, ...],
    drop: str | None,
    as_json: bool,
    **new_index: Any,
) -> None:
    """Make a table or view searchable, and keep it so.

    \b
    sqlrag index shop.db review.body
    sqlrag index shop.db review.title review.body --filter-column lang
    sqlrag index shop.db review --template '{title}: {body}' --name reviews

    On SQLite, triggers on the table note every change, whichever program writes to it; searches and `sqlrag sync` index
    what has changed. You may interrupt this command: run it again to continue.
    """  # noqa: D301 - \b is click's mark of a paragraph to leave as it is
    import sqlrag
    from sqlrag.cli.progress import interruptible
    from sqlrag.cli.remote_cost import tell_cost_of_rows
    from sqlrag.store.source_table import template_columns

    with sqlrag.connect(db, must_exist=True, **chosen_models()) as database:
        if drop is not None:
            if columns:
                raise click.UsageError("--drop takes the name of an index and no TABLE.COLUMN")
            database.drop_index(drop)
            if as_json:
                print_json({"dropped": drop})
            else:
                click.echo(f"{db}: index {drop} is dropped")
            return
        table, text = _table_and_text(columns, template)
        name = name or _name_after(table)
        parts = template_columns(template) if template else [text] if isinstance(text, str) else text
        tell_cost_of_rows(new_index.get("embedder"), database, table, parts)
        with interruptible(db) as progress:
            report = database.create_index(
                name,
                table,
                text,
                key=list(key) or None,
                filters=list(filters),
                progress=progress,
                **new_index,
            )
    _tell(db, report, as_json, f"index {name}: ")


@click.command()
@database_argument
@index_option
@model_options
@click.option("--compare", is_flag=True, help="Compare every row, instead of trusting the triggers.")
@click.option("--watch", is_flag=True, help="Continue until Ctrl-C, and look for changes every second.")
@json_option
def sync(*, db: str, index: str | None, compare: bool, watch: bool, as_json: bool) -> None:
    """Index the rows of tables that have changed.

    Only changed text is embedded. By default this command syncs every index over a table or view.
    """
    import sqlrag
    from sqlrag.cli.progress import interruptible

    with sqlrag.connect(db, must_exist=True, **chosen_models()) as database:
        with interruptible(db) as progress:
            report = database.sync(index, compare=compare, progress=progress)
        _tell(db, report, as_json)
        if watch:
            _watch(database, index, as_json)


@click.command()
@database_argument
@index_option
@click.option("--model", metavar="MODEL", help="Another embedder: a pulled one, a folder, or of a remote endpoint.")
@backend_option
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest chunk, in tokens; unchanged by default.")
@click.option(
    "--overlap", type=click.IntRange(min=0), help="Tokens that neighbouring chunks share; unchanged by default."
)
@click.option("--vectors", type=click.Choice(VECTORS), help="How vectors are stored; unchanged by default.")
@states_option
@click.option("--states-only", is_flag=True, help="Keep the states that are missing; no vector is made anew.")
@click.option("--codes-only", is_flag=True, help="Make only the codes of the vectors anew; nothing is embedded.")
@json_option
def reindex(
    *,
    db: str,
    index: str | None,
    model: str | None,
    max_tokens: int | None,
    overlap: int | None,
    vectors: str | None,
    states: str | None,
    states_only: bool,
    codes_only: bool,
    as_json: bool,
) -> None:
    """Build an index again, with another model or other chunks.

    The new index is built beside the old one, which answers meanwhile, and replaces it in one transaction. You may
    interrupt this command: run it again to continue. With --codes-only, an index of an earlier version gets the codes
    that this version searches, from the vectors that it has. With --states-only, what the reranker keeps of chunks is
    made where it is missing: for an index of an earlier version, or after another reranker.
    """
    import sqlrag
    from sqlrag.cli.progress import interruptible
    from sqlrag.cli.remote_cost import tell_cost_of_rows

    with sqlrag.connect(db, must_exist=True, **chosen_models()) as database, interruptible(db) as progress:
        names = [one.index for one in database.info()]
        name = index or (names[0] if len(names) == 1 else "chunks")
        if name in names:
            tell_cost_of_rows(model, database, name, ["text"])
        report = database.reindex(
            index,
            embedder=model,
            max_tokens=max_tokens,
            overlap=overlap,
            vectors=vectors,
            states=states,
            states_only=states_only,
            codes_only=codes_only,
            progress=progress,
        )
    if codes_only and not as_json:
        click.echo(f"{db}: codes made anew for the chunks of {report.unchanged:,} rows in {report.seconds:.1f} s.")
    elif states_only and not as_json:
        click.echo(f"{db}: states of {report.unchanged:,} chunks kept in {report.seconds:.1f} s.")
    else:
        _tell(db, report, as_json, "made anew: ")


def _watch(database: Database, index: str | None, as_json: bool) -> None:
    """Index changed rows every second until Ctrl-C, and report each time what was indexed."""
    from sqlrag.errors import LockedError

    try:
        while True:
            time.sleep(WATCH_SECONDS)
            try:
                report = database.sync(index)
            except LockedError:
                continue  # the other writer will finish at some time
            if report.added or report.changed or report.removed:
                _tell(database.path, report, as_json)
    except KeyboardInterrupt:
        return


def _name_after(table: str) -> str:
    """Return the default name of a table's index. Raises UsageError if the table's name cannot be a part of one."""
    from sqlrag.errors import InputError
    from sqlrag.store.names import check_new_index_name

    try:
        return check_new_index_name(f"{table}_chunks")
    except InputError as error:
        raise click.UsageError(
            f"the name of the table {table!r} makes none for its index: give one with --name, such as --name reviews"
        ) from error


def _table_and_text(columns: tuple[str, ...], template: str | None) -> tuple[str, str | list[str]]:
    """Return the table, and the `text` argument of `create_index`."""
    if not columns:
        raise click.UsageError("give TABLE.COLUMN, or TABLE with --template")
    if template is not None:
        if len(columns) > 1:
            raise click.UsageError("with --template give one TABLE")
        return columns[0], template
    pairs = [column.rpartition(".") for column in columns]
    if any(not table or not column for table, _, column in pairs):
        raise click.UsageError(f"{columns[0]!r} is not TABLE.COLUMN, such as review.body")
    if len({table for table, _, _ in pairs}) > 1:
        raise click.UsageError("an index is over one table: make a view of several")
    texts = [column for _, _, column in pairs]
    return pairs[0][0], texts[0] if len(texts) == 1 else texts


def _tell(db: str, report: SyncReport, as_json: bool, what: str = "") -> None:
    if as_json:
        print_json(report)
        return
    counts = [f"{getattr(report, name):,} {name}" for name in ("added", "changed", "removed") if getattr(report, name)]
    text = f"{db}: {what}rows: {', '.join(counts) or 'nothing new'}"
    if report.chunks:
        text += f"; {report.chunks:,} chunks, {report.tokens:,} tokens in {report.seconds:.1f} s"
    if report.truncated:
        text += f"; {report.truncated:,} chunks exceed the model's window"
    if report.backlog:
        text += f"; {report.backlog:,} rows changed meanwhile and wait"
    click.echo(text + ".")
    if report.unreadable:
        click.echo(f"{len(report.unreadable):,} rows have no text that can be indexed:", err=True)
    for one in report.unreadable[:20]:
        click.echo(f"  {one.source_id}: {one.reason}", err=True)
