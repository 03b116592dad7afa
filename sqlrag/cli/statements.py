"""SQL as people type it: scripts, the values of parameters, and running it so that Ctrl-C works."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sqlrag.cli.error_reporting import Interrupted
from sqlrag.values.sql_lexer import DUCKDB, SQLITE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlrag.database import Database

__all__ = ["DIALECTS", "Runner", "Value", "parse_parameter", "parse_value", "stopped_by_ctrl_c"]

DIALECTS = {"sqlite": SQLITE, "duckdb": DUCKDB}

Value = str | int | float | None
Row = tuple[Any, ...]
T = TypeVar("T")

_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_TEXT = re.compile(r"'((?:[^']|'')*)'")


def parse_value(text: str) -> Value:
    """Read a value as SQL does: `25` and `0.5` are numbers, `'25'` is a text, `NULL` is NULL.

    Anything else, such as `why RLHF?` or `02139`, is a text as it stands.
    """
    if text == "NULL":
        return None
    if quoted := _TEXT.fullmatch(text):
        return quoted[1].replace("''", "'")
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    return float(text) if number[2] or number[3] else int(text)


def parse_parameter(text: str) -> tuple[str, Value]:
    """Read `name=value`. Raises BadParameter."""
    name, equals, value = text.partition("=")
    name = name.strip().lstrip(":$@")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="'-p'")
    return name, parse_value(value)


@contextmanager
def stopped_by_ctrl_c() -> Iterator[None]:
    """Report Ctrl-C in the body as an interrupted script."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted("the statement that ran was stopped; what ran before it stays") from error


class Runner:
    """Runs statements in a thread of its own, so that Ctrl-C stops one that is deep inside the engine."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, "sqlrag-sql")

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def run(self, statement: str, parameters: dict[str, Value]) -> tuple[list[str], Iterator[list[Row]]]:
        """Run a statement, which need not use all of the parameters; return its columns and batches of its rows."""
        result = self._call(lambda: self._database.execute(statement, parameters))
        return self._call(lambda: result.columns), self._batches(result.fetchmany)

    def _batches(self, fetch: Callable[[int], list[tuple[Any, ...]]], size: int = 1000) -> Iterator[list[Any]]:
        while rows := self._call(lambda: fetch(size)):
            yield rows

    def _call(self, work: Callable[[], T]) -> T:
        future = self._thread.submit(work)
        try:
            wait([future])
        except KeyboardInterrupt:
            self._database.interrupt()
            wait([future])
            raise
        return future.result()
