"""The command line: `sqlrag COMMAND DB …`, a thin front over `sqlrag.Database`.

What is slow to import is imported by the command that needs it: `sqlrag --help` takes click and nothing else.
"""

from __future__ import annotations

import click

from sqlrag.cli.demo import demo
from sqlrag.cli.errors import Commands
from sqlrag.cli.evaluation import evaluate
from sqlrag.cli.index import index, reindex, sync
from sqlrag.cli.ingest import ingest
from sqlrag.cli.mcp import mcp
from sqlrag.cli.models import models
from sqlrag.cli.query import compare, search
from sqlrag.cli.serve import serve
from sqlrag.cli.shell import shell
from sqlrag.cli.sql import sql
from sqlrag.cli.status import check, info

__all__ = ["cli", "main"]


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    import platform

    import sqlrag

    click.echo(f"sqlrag {sqlrag.__version__} (Python {platform.python_version()})")
    ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try `sqlrag demo`, then `sqlrag ingest notes.db FOLDER` and `sqlrag search notes.db QUESTION`.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Search documents by meaning, in two stages, in one SQL statement, on SQLite or DuckDB.

    A first stage (vectors) finds candidates in milliseconds; a second one (a cross-encoder) reads the
    question and each candidate together and puts the best first.
    """


for _command in (
    demo, ingest, index, search, compare, sql, shell, sync, reindex, info, check, evaluate, models, mcp, serve,
):  # fmt: skip
    cli.add_command(_command)


def main() -> None:
    """Run the program `sqlrag`."""
    cli(prog_name="sqlrag")
