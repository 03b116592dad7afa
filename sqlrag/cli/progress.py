"""Progress bars: of an ingestion with its rate in tokens per second, of an evaluation by its steps."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING

import click

from sqlrag.cli.error_reporting import Interrupted, escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlrag.evaluation.report import Progress as Step
    from sqlrag.results import IngestProgress

__all__ = ["bytes_bar", "interruptible", "progress_bar", "steps_bar"]

_SECONDS_A_LINE = 10


@contextmanager
def progress_bar() -> Iterator[Callable[[IngestProgress], None] | None]:
    """Show a bar on stderr and yield what takes each `IngestProgress`; a line now and then if stderr is no terminal."""
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[current]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task("", total=None, rate="", current="")
        started = time.monotonic()

        def show(progress: IngestProgress) -> None:
            done, total = _share(progress)
            rate = progress.tokens / max(time.monotonic() - started, 1e-3)
            bar.update(
                task,
                completed=done,
                total=total,
                rate=f"{rate:,.0f} tokens/s" if progress.tokens else "",
                current=escaped(_shortened(progress.current)),
            )

        yield show


class _Lines:
    """Progress as lines, for a log: none in the first seconds, then one every few seconds."""

    def __init__(self) -> None:
        self._started = self._said = time.monotonic()

    def show(self, progress: IngestProgress) -> None:
        """Print a line if the last one was printed long enough ago."""
        now = time.monotonic()
        if now - self._said < _SECONDS_A_LINE:
            return
        self._said = now
        done, total = _share(progress)
        share = f"{done / total:.0%}, " if total else ""
        rate = progress.tokens / max(now - self._started, 1e-3)
        click.echo(
            f"{share}{progress.documents:,} documents, {progress.chunks:,} chunks, {rate:,.0f} tokens/s, "
            f"{escaped(_shortened(progress.current))}",
            err=True,
        )


@contextmanager
def interruptible(path: str) -> Iterator[Callable[[IngestProgress], None] | None]:
    """Show a progress bar, as `progress_bar` does. Ctrl-C in the body is reported with what is kept in the database."""
    try:
        with progress_bar() as progress:
            yield progress
    except KeyboardInterrupt as error:
        raise Interrupted(f"what was finished is in {path}; the same command goes on from there") from error


@contextmanager
def steps_bar() -> Iterator[Callable[[Step], None] | None]:
    """Show a bar on stderr and yield what takes each step of an evaluation; None if stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(bar_width=None), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda step: bar.update(task, completed=step.done, total=step.total, description=step.what)


@contextmanager
def bytes_bar() -> Iterator[Callable[[int, int], None]]:
    """Show how much of a download is done, on stderr if that is a terminal, and yield what takes each step."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        tasks: list[TaskID] = []

        def show(done: int, total: int) -> None:
            if not tasks:
                tasks.append(bar.add_task("", total=total))
            bar.update(tasks[0], completed=done, total=total, visible=done < total)

        yield show


def _share(progress: IngestProgress) -> tuple[int, int | None]:
    """Return how much of how much is done: bytes where they are known, else documents, else files."""
    if progress.bytes_total:
        return progress.bytes_done, progress.bytes_total
    if progress.documents_total:
        return progress.documents, progress.documents_total
    return progress.files_done, progress.files_total or None


def _shortened(uri: str, width: int = 32) -> str:
    name = PurePath(uri).name or uri
    return name if len(name) <= width else f"…{name[-width + 1 :]}"
