"""The commands of `sqlrag COMMAND DB …`, a thin front over `sqlrag.Database`.

Each command is imported when it is first used, and imports slow modules itself, so `sqlrag search` does not wait for
the code of the others.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

import click

from sqlrag.cli.error_reporting import Commands

__all__ = ["cli"]

_COMMANDS = {
    "demo": "demo:demo",
    "ingest": "ingest:ingest",
    "index": "index:index",
    "search": "query:search",
    "compare": "query:compare",
    "context": "query:context",
    "sql": "sql:sql",
    "shell": "shell:shell",
    "sync": "index:sync",
    "reindex": "index:reindex",
    "info": "info:info",
    "check": "info:check",
    "eval": "evaluation:evaluate",
    "models": "models:models",
    "serve": "serve:serve",
    "status": "model_server:server_status",
    "stop": "model_server:stop",
    "extension": "info:extension",
    "mcp": "serve:mcp",
    "export": "shards:export",
    "spark-pull": "shards:spark_pull",
}
"""The module and the name of each command. The first is the one to try first."""


class _Commands(Mapping[str, click.Command]):
    """The commands by name; each is imported when it is looked up."""

    def __getitem__(self, name: str) -> click.Command:
        module, attribute = _COMMANDS[name].split(":")
        command: click.Command = getattr(importlib.import_module(f"sqlrag.cli.{module}"), attribute)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


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

    The first stage (vectors) finds candidates in milliseconds. The second stage (a cross-encoder) reads the
    question together with each candidate and puts the best first.
    """


cli.commands = _Commands()  # type: ignore[assignment]  # no command is added later
