"""`sqlrag ingest`: index files and folders in a database."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from sqlrag.cli.error_reporting import escaped
from sqlrag.cli.options import chosen_models, engine_option, json_option, new_index_options, print_json

if TYPE_CHECKING:
    from sqlrag.results import IngestReport
    from sqlrag.text.documents import Document, NoText, Unreadable

__all__ = ["UNKNOWN_SHARE", "ingest", "unknown_text"]

# How many ignored paths, and how many documents without a text, the report names.
_NAMED = 5
_EMPTY_NAMED = 20

UNKNOWN_SHARE = 0.05
"""From this share of unknown tokens on, an ingest warns: a model that knows a language has hardly any."""


def unknown_text(share: float) -> str:
    """Return what to say of an index with this share of unknown tokens."""
    return (
        f"the model does not know {share:.0%} of the tokens, so it cannot find what they say. "
        "A multilingual pair does: sqlrag models pull intfloat/multilingual-e5-small "
        "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1, then ingest into a new database with --embedder "
        "intfloat/multilingual-e5-small (see docs/ingest.md)"
    )


@click.command()
@click.argument("db", type=click.Path(dir_okay=False))
@click.argument("paths", nargs=-1, metavar="PATHS...", type=click.Path(exists=True, allow_dash=True))
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
@click.option(
    "--include",
    multiple=True,
    metavar="PATTERN",
    help="Read only files that match, as in .gitignore ('*.md', '/src/'); may be repeated. Files of unknown kinds that "
    "match are read as text.",
)
@click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Leave out files and folders that match; may be repeated."
)
@click.option("--gitignored", is_flag=True, help="Read what a .gitignore names, too.")
@click.option(
    "--files-from",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="LIST",
    help="Read the paths in a file, one a line or separated by NULs ('-': stdin).",
)
@click.option(
    "--kind", metavar="SUFFIX", help="What stdin holds, if PATHS is '-': md, html, jsonl, csv …; txt by default."
)
@click.option("--name", metavar="NAME", default="stdin", show_default=True, help="Name of the document from stdin.")
@click.option(
    "--encoding", metavar="NAME", help="Encoding of text files that are not UTF-8 and have no mark, e.g. cp1252."
)
@click.option(
    "--max-errors", type=click.IntRange(min=0), metavar="N", help="Stop after more than N unreadable files and rows."
)
@new_index_options
@click.option(
    "--language",
    metavar="CODE",
    help="Language of most texts, e.g. de: the full text of a new index then has words as they are, not English stems.",
)
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
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    gitignored: bool,
    files_from: str | None,
    kind: str | None,
    name: str,
    encoding: str | None,
    max_errors: int | None,
    language: str | None,
    prune: bool,
    engine: str | None,
    as_json: bool,
    **new_index: Any,
) -> None:
    """Make files and folders searchable.

    Reads text, Markdown, HTML and other markup, source code, notebooks, feeds, mail and subtitles, the rows of
    jsonl, csv and parquet, zip archives, and all of these compressed with gzip (and PDF, Office, EPUB with the
    extra `files`). Cuts them into chunks, and stores chunks, vectors and a full-text index in DB, which is created
    if it does not exist. '-' reads one document, or rows, from stdin. Unchanged files cost nothing, changed ones
    are replaced. You may interrupt this command: run it again to continue.

    Left out are hidden files, what a .gitignore names, and folders that tools fill, such as node_modules. Files
    that cannot be read are named, with the reason, and the others are ingested. The exit status is 1 only if
    nothing could be read at all.
    """
    import sqlrag
    from sqlrag.cli.progress import interruptible
    from sqlrag.cli.remote_cost import tell_cost_of_files
    from sqlrag.text.documents import NoText, Unreadable

    columns: dict[str, Any] = {"text": list(text), "title": title, "id": id_, "metadata": list(metadata) or None}
    given = _paths(paths, files_from)
    tell_cost_of_files(new_index.get("embedder"), given)
    with ExitStack() as stack:
        sources: Any = given
        if given == ["-"]:
            if prune:
                raise click.UsageError("--prune needs paths: with '-' it would remove all other documents")
            sources, others = stack.enter_context(_from_stdin(kind, name, encoding, columns))
        elif kind is not None:
            raise click.UsageError("--kind is for stdin: PATHS must be '-'")
        database = stack.enter_context(sqlrag.connect(db, engine=engine, **chosen_models()))
        progress = stack.enter_context(interruptible(db))
        report = database.ingest(
            sources,
            index,
            **columns,
            include=include,
            exclude=exclude,
            gitignored=gitignored,
            encoding=encoding,
            max_errors=max_errors,
            language=language,
            prune=prune,
            progress=progress,
            **new_index,
        )
        if given == ["-"]:
            report.unreadable += [one for one in others if isinstance(one, Unreadable)]
            report.empty += [one.uri for one in others if isinstance(one, NoText)]
    if as_json:
        print_json(report)
    else:
        click.echo(f"{db}: {_summary(report)}")
    _tell_unknown(report)
    _tell_unreadable(report)


def _paths(paths: tuple[str, ...], files_from: str | None) -> list[str]:
    """Return the paths that were given as arguments and in a list."""
    listed: list[str] = []
    if files_from is not None:
        with click.open_file(files_from, "rb") as file:
            data = file.read()
        lines = data.split(b"\0") if b"\0" in data else data.splitlines()
        listed = [os.fsdecode(line) for line in lines if line.strip()]
        if not listed and not paths:
            raise click.UsageError(f"the list {files_from} names no file")
    given = [*paths, *listed]
    if not given:
        raise click.UsageError("name files or folders, or '-' for stdin")
    if "-" in given and len(given) > 1:
        raise click.UsageError("'-' is for stdin, and cannot stand beside other paths")
    return given


@contextmanager
def _from_stdin(
    kind: str | None, name: str, encoding: str | None, columns: Any
) -> Iterator[tuple[Iterator[Document], list[NoText | Unreadable]]]:
    """Yield the documents of stdin, and a list that takes what of it has no text, or could not be read."""
    from sqlrag.text.documents import Document, Source
    from sqlrag.text.kinds import KINDS
    from sqlrag.text.loading import Choice, read_documents, row_columns

    suffix = (kind or "txt").lower().removeprefix(".")
    if suffix not in KINDS:
        raise click.UsageError(f"--kind is {kind!r}: it is one of {', '.join(sorted(KINDS))}")
    if sys.stdin.isatty():
        raise click.UsageError("'-' reads stdin, and stdin is a terminal: pipe something into this command")
    others: list[NoText | Unreadable] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        source = Source(name, path, path.parent, Choice(encoding=encoding).encoding, suffix)

        def documents() -> Iterator[Document]:
            for item in read_documents(source, row_columns(**columns)):
                if isinstance(item, Document):
                    own = {key: value for key, value in item.metadata.items() if key not in ("path", "name", "folder")}
                    title = name if item.title == "stdin" else item.title
                    yield replace(item, title=title, metadata=own)
                else:
                    others.append(item)

        yield documents(), others


def _summary(report: IngestReport) -> str:
    """Describe what an ingestion did, in a few sentences."""
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
        text += f". {_counted(len(report.skipped), 'file')} of other kinds left out: {_kinds(report.skipped)}"
    if report.ignored:
        shown = ", ".join(escaped(PurePath(uri).name + "/" * uri.endswith("/")) for uri in report.ignored[:_NAMED])
        more = ", …" if len(report.ignored) > _NAMED else ""
        text += (
            f". {_counted(len(report.ignored), 'path')} ignored ({shown}{more}): --include or --gitignored reads them"
        )
    return text + "."


def _kinds(skipped: Sequence[str]) -> str:
    """Name the kinds of files that were left out, the most frequent first, each with what would make it readable."""
    from sqlrag.text.kinds import remedy

    counts = Counter(remedy(PurePath(uri).name) for uri in skipped)
    return "; ".join(f"{count:,} {escaped(suffix)} ({how})" for (suffix, how), count in counts.most_common())


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def _tell_unknown(report: IngestReport) -> None:
    """Warn if the model does not know much of the text."""
    share = report.unknown / report.tokens if report.tokens else 0
    if share >= UNKNOWN_SHARE:
        click.echo(f"Note: {unknown_text(share)}", err=True)


def _tell_unreadable(report: IngestReport) -> None:
    """Name what could not be read, and what has no text, on stderr; fail if there was nothing else."""
    rows = sum(one.rows for one in report.unreadable)
    files = sum(not one.rows for one in report.unreadable)
    if report.unreadable:
        parts = [_counted(count, what) for count, what in ((files, "file"), (rows, "row")) if count]
        click.echo(f"{' and '.join(parts)} could not be read:", err=True)
    for one in report.unreadable:
        click.echo(f"  {escaped(one.uri)}: {escaped(one.reason)}", err=True)
    if report.empty:
        click.echo(f"{_counted(len(report.empty), 'document')} without any text:", err=True)
        for uri in report.empty[:_EMPTY_NAMED]:
            click.echo(f"  {escaped(uri)}", err=True)
        if len(report.empty) > _EMPTY_NAMED:
            click.echo(f"  and {len(report.empty) - _EMPTY_NAMED:,} more", err=True)
    if report.unchanged or report.removed or report.chunks:
        return
    if report.empty:
        raise click.ClickException("there was no text to read")
    if report.unreadable:
        raise click.ClickException("nothing could be read")
    if report.ignored and not report.skipped:
        raise click.ClickException(
            "there was nothing to read: --include, --exclude, a .gitignore or their names leave out all files"
        )
    raise click.ClickException(
        "there was nothing to read: no file of a known kind among the paths (sqlrag ingest --help lists the kinds)"
    )
