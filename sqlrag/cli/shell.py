"""`sqlrag shell`: a prompt for SQL."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sqlrag.cli.error_reporting import one_line, printable
from sqlrag.cli.options import chosen_models, database_argument, is_writable, model_options, reranker_option
from sqlrag.cli.rows import FORMATS, shown, write_rows
from sqlrag.cli.statements import DIALECTS, Runner, Value, parse_value, stopped_by_ctrl_c
from sqlrag.values.sql_lexer import Splitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlrag.database import Database

__all__ = ["shell"]

_HELP = """\
SQL ends with a semicolon and may take several lines. Ctrl-C stops a statement, Ctrl-D leaves.
.tables                  the tables and views
.schema [TABLE]          how they were created
.param set NAME VALUE    give :NAME a value (a number, 'text', NULL; anything else is a text)
.param [list]            the values given
.param clear             forget them
.format FORM             table, json, csv or markdown
.help                    this
.quit                    leave"""

_PROMPT, _CONTINUED = "sqlrag> ", "   ...> "
_HISTORY_LENGTH = 2000


@click.command()
@database_argument
@reranker_option
@model_options
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def shell(db: str, reranker: str | None, form: str, as_json: bool) -> None:
    """Type SQL at a prompt.

    `.help` lists its other commands. If stdin is not a terminal, statements run without prompts, and the first
    that fails ends the run.
    """
    from sqlrag.serve.model_server.served_database import connect_served

    models = chosen_models()
    with (
        connect_served(db, read_only=not is_writable(db), reranker=reranker, **models) as database,
        contextlib.closing(Runner(database)) as runner,
    ):
        session = _Session(database, runner, "json" if as_json else form)
        if sys.stdin.isatty():
            _talk(session)
        else:
            _read(session)


class _Session:
    """One shell: its parameters and the format of its results."""

    def __init__(self, database: Database, runner: Runner, form: str) -> None:
        self._database = database
        self._runner = runner
        self._form = form
        self._parameters: dict[str, Value] = {}

    @property
    def splitter(self) -> Splitter:
        """What cuts typed lines into statements of the database's engine."""
        return Splitter(DIALECTS[self._database.engine])

    def run(self, text: str) -> None:
        """Run a dot command or a statement. Raises EOFError for `.quit`."""
        if text.startswith("."):
            self._command(text.split(maxsplit=3))
        else:
            self._sql(text)

    def _sql(self, sql: str) -> None:
        write_rows(*self._runner.run(sql, self._parameters), self._form)

    def _schema(self, name: str | None) -> None:
        from sqlrag.store.statements import statement

        _, batches = self._runner.run(statement(f"cli/{self._database.engine}_schema"), {"name": name})
        for batch in batches:
            for (sql,) in batch:
                click.echo(f"{printable(sql).rstrip(';')};")

    def _command(self, words: list[str]) -> None:
        from sqlrag.store.statements import statement

        match words:
            case [".quit" | ".exit"]:
                raise EOFError
            case [".help"]:
                click.echo(_HELP)
            case [".tables"]:
                self._sql(statement(f"cli/{self._database.engine}_tables"))
            case [".schema", *tables]:
                self._schema(tables[0] if tables else None)
            case [".format", form] if form in FORMATS:
                self._form = form
            case [".param", "set", name, value]:
                self._parameters[name.lstrip(":$@")] = parse_value(value)
            case [".param"] | [".param", "list"]:
                for key, given in self._parameters.items():
                    click.echo(f":{key} = {shown(given)}")
            case [".param", "clear"]:
                self._parameters.clear()
            case _:
                line = " ".join(words)
                raise click.UsageError(f"{line!r} is no command of this shell: .help lists them")


def _talk(session: _Session) -> None:
    """Read from a person until they leave."""
    click.echo("SQL with embed(), vector_top_k(), rerank_score(), search(). .help tells more, .quit leaves.")
    with _history(), contextlib.suppress(EOFError):
        pieces = _pieces(_ask, session.splitter)
        while True:
            pieces = _turn(session, pieces)


def _turn(session: _Session, pieces: Iterator[str]) -> Iterator[str]:
    """Read and run one statement or command; print what fails. Raises EOFError when the person leaves."""
    from sqlrag.errors import Error

    try:
        text = next(pieces, None)
        if text is None:
            raise EOFError
        session.run(text)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return _pieces(_ask, session.splitter)
    except click.ClickException as error:
        click.echo(f"Error: {one_line(error.message)}", err=True)
    except (Error, OSError) as error:
        click.echo(f"Error: {one_line(str(error))}", err=True)
    return pieces


def _read(session: _Session) -> None:
    """Run what comes through a pipe; the first that fails ends it."""
    with contextlib.suppress(EOFError), stopped_by_ctrl_c():
        for text in _pieces(lambda _continued: _read_line(), session.splitter):
            session.run(text)


def _read_line() -> str:
    try:
        return sys.stdin.readline()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the statements on stdin are not {error.encoding.upper()}: {error.reason}") from error


def _pieces(read: Callable[[bool], str], splitter: Splitter) -> Iterator[str]:
    """Yield dot commands and complete statements from lines; the last statement may lack its semicolon."""
    while line := read(splitter.is_open):
        if not splitter.is_open and line.lstrip().startswith("."):
            yield line.strip()
        else:
            yield from splitter.feed(line)
    if rest := splitter.rest():
        yield rest


def _ask(continued: bool) -> str:
    """Read a line from a person; an empty text at the end (Ctrl-D)."""
    try:
        return input(_CONTINUED if continued else _PROMPT) + "\n"
    except EOFError:
        click.echo()
        return ""


@contextlib.contextmanager
def _history() -> Iterator[None]:
    """Keep the lines typed for the next time, where this Python has readline and the folder can be written."""
    try:
        import readline
    except ImportError:
        yield
        return
    file = _state_folder() / "history"
    with contextlib.suppress(OSError):
        readline.read_history_file(file)
    readline.set_history_length(_HISTORY_LENGTH)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            readline.write_history_file(file)


def _state_folder() -> Path:
    """Return where a user's programs keep what is no setting: the XDG base directory specification's state home."""
    home = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(home) if home else Path.home() / ".local" / "state") / "sqlrag"
