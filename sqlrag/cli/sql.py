"""`sqlrag sql`: statements from the command line, a file or stdin."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import IO, Any, TextIO

import click

from sqlrag.cli.options import chosen_models, database_argument, is_writable, model_options, reranker_option
from sqlrag.cli.rows import FORMATS, write_rows
from sqlrag.cli.statements import DIALECTS, Runner, parse_parameter, stopped_by_ctrl_c
from sqlrag.process.open_files import check_no_database
from sqlrag.values.sql_lexer import split

__all__ = ["sql"]


class _WithStatement(click.Command):
    """A command whose STATEMENT may begin with a SQL comment, which looks like an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {name for param in self.get_params(ctx) for name in param.opts}

        def protected(arg: str) -> str:
            # No option has a blank in it before its value; a line more at its beginning is nothing to SQL.
            is_comment = arg.startswith("--") and any(map(str.isspace, arg)) and arg.partition("=")[0] not in known
            return f"\n{arg}" if is_comment else arg

        return super().parse_args(ctx, [protected(arg) for arg in args])


class _Script(click.File):
    """A file of statements; no database that this process has open, as a file is closed again."""

    def convert(
        self, value: str | os.PathLike[str] | IO[Any], param: click.Parameter | None, ctx: click.Context | None
    ) -> IO[Any]:
        if isinstance(value, (str, os.PathLike)):
            try:
                check_no_database(value)
            except OSError as error:
                self.fail(f"{os.fspath(value)!r}: {error.strerror}", param, ctx)
        return super().convert(value, param, ctx)


@click.command(cls=_WithStatement)
@database_argument
@click.argument("statement", required=False)
@click.option("-f", "--file", type=_Script(encoding="utf-8"), help="Run the statements of a file ('-': stdin).")
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of :NAME; may be repeated. Numbers and NULL are as in SQL, anything else is a text "
    "(to have digits as text, quote them: -p \"zip='02139'\").",
)
@reranker_option
@model_options
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def sql(
    *,
    db: str,
    statement: str | None,
    file: TextIO | None,
    params: tuple[str, ...],
    reranker: str | None,
    form: str,
    as_json: bool,
) -> None:
    """Run SQL with all functions of sqlrag.

    For example, in two stages:

    \b
    sqlrag sql notes.db -p q="why RLHF?" "
        SELECT   c.id, c.text, rerank_score(:q, c.text) AS score
        FROM     vector_top_k('chunks', embed(:q), 25) AS hit
        JOIN     chunks AS c ON c.id = hit.id
        ORDER BY score DESC LIMIT 3"

    Without STATEMENT and --file, statements are read from stdin. Several run in order; each prints its rows,
    and the first that fails ends the run. Tables and markdown show vectors by their first numbers; JSON and
    CSV have them whole.
    """  # noqa: D301 - \b is click's mark of a paragraph to leave as it is
    from sqlrag.engines.base import engine_of
    from sqlrag.serve.model_server.served_database import connect_served

    script = _script(statement, file)
    parameters = dict(parse_parameter(param) for param in params)
    statements = split(script, DIALECTS[engine_of(db, None)])
    if not statements:
        raise click.UsageError("there is no statement to run")
    with (
        connect_served(db, read_only=not is_writable(db), reranker=reranker, **chosen_models()) as database,
        closing(Runner(database)) as runner,
        stopped_by_ctrl_c(),
    ):
        for one in statements:
            write_rows(*runner.run(one, parameters), "json" if as_json else form)


def _script(statement: str | None, file: TextIO | None) -> str:
    if statement is not None and file is not None:
        raise click.UsageError("give either STATEMENT or --file, not both")
    if statement is not None:
        return statement
    if file is None and sys.stdin.isatty():
        raise click.UsageError("give a STATEMENT, a --file, or statements on stdin")
    try:
        return (file or sys.stdin).read()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the statements are not {error.encoding.upper()}: {error.reason}") from error
