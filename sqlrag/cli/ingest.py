"""`sqlrag ingest`: index files and folders in a database."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from sqlrag.cli.options import engine_option, json_option, new_index_options, print_json

if TYPE_CHECKING:
    from sqlrag.results import IngestReport

__all__ = ["ingest"]

# How many suffixes of skipped files the report names.
_KINDS = 5


@click.command()
@click.argument("db", type=click.Path(dir_okay=False))
@click.argument("paths", nargs=-1, required=True, metavar="PATHS...", type=click.Path(exists=True))
@click.option(
    "--index", default="chunks", show_default=True, metavar="NAME", help="Name of the index and its chunk table."
)
@click.option(
    "--text",
    multiple=True,
    default=["text"],
    show_default=True,
    metavar="COLUMN",
    help="Column of the text, in jsonl, csv and parquet; may be repeated.",
)
@click.option("--title", metavar="COLUMN", help="Column of the title, in the same files.")
@click.option("--id", "id_", metavar="COLUMN", help="Column that identifies a row, in the same files.")
@click.option("--metadata", multiple=True, metavar="COLUMN", help="A column to keep as metadata; may be repeated.")
@new_index_options
@click.option("--prune", is_flag=True, help="Remove documents whose files are gone.")
@engine_option
@json_option
def ingest(
    *,
    db: str,
    paths: tuple[str, ...],
    index: str,
    text: tuple[str, ...],
    title: str | None,
    id_: str | None,
    metadata: tuple[str, ...],
    prune: bool,
    engine: str | None,
    as_json: bool,
    **new_index: Any,
) -> None:
    """Make files and folders searchable.

    Reads txt, md, html, jsonl, csv and parquet (and PDF, Office, EPUB with the extra `files`), cuts them
    into chunks, and stores chunks, vectors and a full-text index in DB, which is created if it does not exist.
    Unchanged files cost nothing, changed ones are replaced. You may interrupt this command: run it again to
    continue.

    Files that cannot be read are named, with the reason, and the others are ingested. The exit status is 1 only
    if nothing could be read at all.
    """
    import sqlrag
    from sqlrag.cli.progress import interruptible

    with sqlrag.connect(db, engine=engine) as database, interruptible(db) as progress:
        report = database.ingest(
            list(paths),
            index,
            text=list(text),
            title=title,
            id=id_,
            metadata=list(metadata) or None,
            prune=prune,
            progress=progress,
            **new_index,
        )
    if as_json:
        print_json(report)
    else:
        click.echo(f"{db}: {_summary(report)}")
    _tell_unreadable(report)


def _summary(report: IngestReport) -> str:
    """Describe what an ingestion did, in one or two sentences."""
    documents = ", ".join(
        f"{count:,} {what}"
        for what in ("added", "changed", "unchanged", "removed")
        if (count := getattr(report, what)) or what == "added"
    )
    text = f"documents: {documents}"
    if report.chunks:
        rate = report.tokens / max(report.seconds, 1e-3)
        text += (
            f"; {report.chunks:,} chunks, {report.tokens:,} tokens in {report.seconds:.1f} s"
            f" ({rate:,.0f} tokens/s). "
            f"{report.truncated / report.chunks:.1%} of these chunks exceed the model's window"
        )
    if report.skipped:
        kinds = ", ".join(sorted({PurePath(uri).suffix.lower() or "no suffix" for uri in report.skipped})[:_KINDS])
        count = len(report.skipped)
        text += f". {count:,} {'files' if count > 1 else 'file'} of other kinds left out ({kinds})"
    return text + "."


def _tell_unreadable(report: IngestReport) -> None:
    """Name the files that could not be read, on stderr; fail if there were no others."""
    count = len(report.unreadable)
    if count:
        click.echo(f"{count:,} file{'s' if count > 1 else ''} could not be read:", err=True)
    for one in report.unreadable:
        click.echo(f"  {one.uri}: {one.reason}", err=True)
    if report.added or report.changed or report.unchanged or report.removed:
        return
    if report.unreadable:
        raise click.ClickException("nothing could be read")
    raise click.ClickException(
        "there was nothing to read: no txt, md, html, jsonl, csv or parquet file among the paths"
    )
