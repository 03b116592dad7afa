"""SQL as people type it: splitting a script into statements, parameters, and running so that Ctrl-C works."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sqlrag.cli.error_reporting import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlrag.database import Database

__all__ = ["Runner", "Value", "is_complete", "parse_parameter", "parse_value", "split_statements", "stopped_by_ctrl_c"]

Value = str | int | float | None
Row = tuple[Any, ...]
T = TypeVar("T")

_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_TEXT = re.compile(r"'((?:[^']|'')*)'")
_BLANK = re.compile(r"(?:\s|;|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)

# Strings, quoted names, comments and casts are stepped over; what then has a mark in front is a parameter.
_PARAMETERS = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | :: | [:$@]([A-Za-z_][A-Za-z0-9_]*)""",
    re.DOTALL | re.VERBOSE,
)


def is_complete(text: str) -> bool:
    """Tell whether a text ends a statement: a `;` that is not inside a string, a comment or a trigger."""
    import apsw

    return bool(apsw.complete(text))


def split_statements(script: str) -> list[str]:
    """Return the statements of a script in order; what is only blanks and comments is none."""
    statements: list[str] = []
    start = position = 0
    while (position := script.find(";", position) + 1) > 0:
        if is_complete(script[start:position]):
            statements.append(script[start:position].strip())
            start = position
    statements.append(script[start:].strip())
    return [statement for statement in statements if not _BLANK.fullmatch(statement)]


def parse_value(text: str) -> Value:
    """Read a value as SQL does: `25` and `0.5` are numbers, `'25'` is a text, `NULL` is NULL.

    What is none of these, `why RLHF?` or `02139`, is the text that it is.
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
    """Say what is left of a script that Ctrl-C stopped."""
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
        """Run a statement with those of the parameters that it names; return columns and batches of rows."""
        named = {match[1] for match in _PARAMETERS.finditer(statement)}
        used = {name: value for name, value in parameters.items() if name in named}
        result = self._call(lambda: self._database.execute(statement, used))
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
