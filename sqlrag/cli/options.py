"""Arguments and options that several commands have, with the checks of their values."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sqlrag.values.arguments import DEFAULT_FIRST_STAGE_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlrag.database import Database

__all__ = [
    "backend_option",
    "candidate_options",
    "chosen_models",
    "database_argument",
    "engine_option",
    "existing_database",
    "index_option",
    "is_writable",
    "json_option",
    "model_options",
    "new_index_options",
    "opened_for_query",
    "print_json",
    "reranker_option",
    "search_options",
    "states_option",
    "weight_option",
    "writes_unicode",
]

# The key of what the options of models say, in a context of click.
_CHOSEN = "sqlrag.models"

Command = TypeVar("Command", bound="Callable[..., Any]")


def database_argument(command: Command) -> Command:
    """Add the argument DB, which must be an existing file, because opening a missing one would create it."""
    return click.argument("db", callback=existing_database)(command)


def existing_database(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Return the path of an existing database, or None if none is given. This is the callback of an argument."""
    if value is None:
        return None
    from sqlrag.errors import DatabaseError
    from sqlrag.process.database_paths import check_path

    try:
        check_path(value, must_exist=True)
    except DatabaseError as error:
        raise click.BadParameter(str(error)) from error
    return value


def is_writable(path: str) -> bool:
    """Return whether a database can be opened for writing. SQLite opens a read-only file for reading by itself."""
    from sqlrag.engines.base import engine_of

    return engine_of(path, None) != "duckdb" or os.access(path, os.W_OK)


def json_option(command: Command) -> Command:
    """Add `--json`, which prints the result as one JSON value."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(command)


def index_option(command: Command) -> Command:
    """Add `--index` for commands that read; by default the only index of the database."""
    return click.option(
        "--index", metavar="NAME", help="Name of the index; by default the only one of the database, or 'chunks'."
    )(command)


def engine_option(command: Command) -> Command:
    """Add `--engine`."""
    return click.option(
        "--engine",
        type=click.Choice(["sqlite", "duckdb"]),
        help="Engine of a new database; by default DuckDB if its name ends in .duckdb or .ddb, otherwise SQLite.",
    )(command)


def _remember(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and parameter.name is not None:
        context.meta.setdefault(_CHOSEN, {})[parameter.name] = value


def backend_option(command: Command) -> Command:
    """Add `--backend`, which `chosen_models` returns."""
    return click.option(
        "--backend",
        type=click.Choice(["onnx", "torch"]),
        expose_value=False,
        callback=_remember,
        help="What runs models that are named here: ONNX Runtime (the default), or torch, as they are.",
    )(command)


def model_options(command: Command) -> Command:
    """Add `--embedder` of a database that exists, and `--backend`; `chosen_models` returns them."""
    embedder = click.option(
        "--embedder",
        metavar="MODEL",
        expose_value=False,
        callback=_remember,
        help="The embedder that made the index, where it cannot be found by its name: a folder, or any model with "
        "--backend torch.",
    )
    return embedder(backend_option(command))


def chosen_models(reranker: str | None = None) -> dict[str, Any]:
    """Return the arguments `embedder`, `backend` and `reranker` for `connect`, where the command was given them."""
    context = click.get_current_context(silent=True)
    chosen = dict(context.meta.get(_CHOSEN, {})) if context is not None else {}
    return chosen | ({} if reranker is None else {"reranker": reranker})


def reranker_option(command: Command) -> Command:
    """Add `--reranker`."""
    return click.option(
        "--reranker",
        metavar="MODEL",
        help="Another reranker: a bundled or pulled one (`sqlrag models pull`), or a folder.",
    )(command)


def _named_values(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> dict[str, Any] | None:
    from sqlrag.cli.statements import parse_parameter  # importing threads costs a few milliseconds

    return dict(map(parse_parameter, given)) if given else None


states_option = click.option(
    "--states",
    type=click.Choice(["compact", "none"]),
    help="Whether to keep what a reranker that reads states needs of each chunk; by default where the reranker does.",
)


def new_index_options(command: Command) -> Command:
    """Add what a new index is made with: `--max-tokens`, `--overlap`, `--embedder`, `--tokenizer` and `--vectors`."""
    from sqlrag.store.full_text import TOKENIZERS
    from sqlrag.store.precision import VECTORS

    options = (
        click.option(
            "--max-tokens",
            type=click.IntRange(min=1),
            help="Longest chunk of a new index, in tokens; 200 by default.",
        ),
        click.option(
            "--overlap",
            type=click.IntRange(min=0),
            help="Tokens that neighbouring chunks of a new index share; 0 by default.",
        ),
        click.option(
            "--embedder",
            metavar="MODEL",
            help="Model of a new index: a pulled one (`sqlrag models pull`), a folder, or one of a remote endpoint.",
        ),
        backend_option,
        click.option(
            "--tokenizer",
            type=click.Choice(list(TOKENIZERS)),
            help="Tokenizer of a new index: English word stems (the default), words as they are, or any three "
            "characters, for Chinese, Japanese, Thai and parts of words.",
        ),
        click.option(
            "--vectors",
            type=click.Choice(VECTORS),
            help="How a new index stores vectors: float32 (the default), or int8 in a quarter of the space.",
        ),
        states_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


weight_option = click.option(
    "--first-stage-weight",
    type=click.FloatRange(0, 1),
    default=DEFAULT_FIRST_STAGE_WEIGHT,
    show_default=True,
    metavar="WEIGHT",
    help="How much the first stage's score counts beside the reranker's; with 0 the reranker decides alone.",
)


def search_options(command: Command) -> Command:
    """Add `--index`, `--top-k`, `--top-n`, `--filter`, `--param` and `--reranker`."""
    top_n = click.option(
        "--top-n",
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        help="Hits to keep after reranking.",
    )
    return candidate_options(top_n)(command)


def candidate_options(top_n: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Return what adds the options of `search_options`, with another `--top-n`."""
    options = (
        index_option,
        click.option(
            "--top-k",
            type=click.IntRange(min=1),
            default=25,
            show_default=True,
            help="Candidates that the first stage (vectors and words) finds.",
        ),
        top_n,
        click.option(
            "--filter",
            "filter_",
            metavar="SQL",
            help="Condition on the documents' columns, applied before the top-k: \"title LIKE 'os.%'\".",
        ),
        click.option(
            "-p",
            "--param",
            "params",
            multiple=True,
            metavar="NAME=VALUE",
            callback=_named_values,
            help="Value of :NAME in the filter; may be repeated.",
        ),
        reranker_option,
        model_options,
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def opened_for_query(db: str, reranker: str | None) -> Database:
    """Open a database for a query: read-only, unless changed rows have to be indexed first."""
    import sqlrag
    from sqlrag.errors import LockedError
    from sqlrag.serve.model_server.served_database import connect_served

    models = chosen_models(reranker)
    database = connect_served(db, **models)
    if database.is_fresh() or not os.access(db, os.W_OK):
        return database
    database.close()
    try:
        return sqlrag.connect(db, must_exist=True, **models)
    except LockedError:  # another process has the DuckDB file open: read it, and warn of the backlog
        return connect_served(db, **models)


def print_json(value: Any) -> None:
    """Print a value as JSON. Dataclasses become objects, NaN and infinity become null.

    Characters beyond ASCII are escaped where the encoding of stdout may lack them.
    """
    click.echo(json.dumps(_plain(value), ensure_ascii=not writes_unicode(), indent=2, default=str))


def writes_unicode() -> bool:
    """Return whether stdout takes every character."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") in ("utf8", "utf16", "utf8sig")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
