"""Write what docs/sql.md and docs/command-line.md take from the code.

    python scripts/reference.py           # write both
    python scripts/reference.py --check   # exit with 1 when a page is not what the code says

The SQL reference comes from the functions that a connection gets and from their docstrings. Types and what NULL does
are found out by asking both engines. The command line comes from `--help`.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

import sqlrag
from sqlrag.cli import cli
from sqlrag.engines.functions import Functions
from sqlrag.engines.measures import MEASURES
from sqlrag.engines.sqlite.functions import scalar_functions, table_functions
from sqlrag.errors import Error
from sqlrag.indexing.maintenance import add_maintenance
from sqlrag.text.documents import Document

DOCS = Path(__file__).parents[1] / "docs"
SQL, COMMANDS = DOCS / "sql.md", DOCS / "command-line.md"
BEGIN, END = "<!-- {name}: begin, written by scripts/reference.py -->", "<!-- {name}: end -->"

ARGUMENTS = {"text": "'A text.'", "source": "'A text.'", "query": "'a question'", "index": "'chunks'", "k": "1"}
ARGUMENTS |= {"chunk_id": "1", "name": "'chunks'", "table": "'documents'", "options": "'{}'"}
"""An argument that each required parameter accepts."""


@dataclass(frozen=True)
class Described:
    """A function of SQL: its parameters, the first `required` of which must be given, and its columns."""

    name: str
    parameters: Sequence[str]
    required: int
    columns: Sequence[str]
    function: Callable[..., Any]

    @property
    def signature(self) -> str:
        """The function as it is called, with what may be left out in brackets."""
        given, optional = list(self.parameters[: self.required]), ", ".join(self.parameters[self.required :])
        if not optional:
            return f"{self.name}({', '.join(given)})"
        return f"{self.name}({', '.join(given)}{' [, ' if given else '['}{optional}])"

    def call(self, null: str | None = None) -> str:
        """Return a call with all required arguments, one of them NULL."""
        values = ["NULL" if name == null else ARGUMENTS[name] for name in self.parameters[: self.required]]
        return f"{self.name}({', '.join(values)})"

    def select(self, null: str | None = None) -> str:
        """Return a statement that calls it."""
        return f"SELECT * FROM {self.call(null)}" if self.columns else f"SELECT {self.call(null)}"


def registered(database: sqlrag.Database) -> dict[str, list[Described]]:
    """Return the functions that a database's connection has, by kind."""
    functions: Functions = database._engine.functions  # noqa: SLF001 - the registry is not public
    maintenance: list[Described] = []

    class Collector:
        @staticmethod
        def add_maintenance(name: str, function: Callable[..., int], arguments: Sequence[int]) -> None:
            maintenance.append(Described(name, _parameters(function), min(arguments), (), function))

    add_maintenance(database, Collector())  # type: ignore[arg-type]
    return {
        "scalar": [
            Described(name, _parameters(function), counts[0], (), function)
            for name, counts, function in scalar_functions(functions)
        ],
        "table": [
            Described(one.name, one.parameters, one.required, one.columns, one.rows)
            for one in table_functions(functions)
        ],
        "maintenance": maintenance,
    }


def sql_reference() -> str:
    """Return the functions of SQL as Markdown."""
    with sqlrag.connect(":memory:", engine="sqlite") as sqlite, sqlrag.connect(":memory:", engine="duckdb") as duckdb:
        for database in (sqlite, duckdb):
            database.ingest([Document("d", "d", "A text.", {}, "hash")])
        kinds = registered(sqlite)
        _, shared = sections(Functions.__doc__ or "")
        lines = ["| error | |", "| --- | --- |"]
        lines += [f"| `{error}` | {text} |" for error, text in shared["Raises"].items()]
        lines += ["", "## Scalar functions", ""]
        for one in kinds["scalar"]:
            lines += [*_described(one), *_value(one, sqlite, duckdb), *_nulls(one, sqlite, duckdb), ""]
        lines += ["## Table functions", ""]
        for one in kinds["table"]:
            lines += [*_described(one, _types(one, sqlite, duckdb)), *_nulls(one, sqlite, duckdb), ""]
        lines += ["## Functions that change indexes", ""]
        for one in kinds["maintenance"]:
            lines += [*_described(one), *_nulls(one, sqlite, duckdb), ""]
    lines += ["## Aggregates", "", "| aggregate | value |", "| --- | --- |"]
    for measure in MEASURES.values():
        parameters = ("rank", "relevance", *measure.parameters)
        signature = Described(measure.name, parameters, 2 + measure.required, (), measure.compute).signature
        lines.append(f"| `{signature}` | {_what(_one_line(measure.compute.__doc__ or ''))} |")
    return "\n".join(lines)


def command_reference() -> str:
    """Return `--help` of each command as Markdown; the pages' tests run the commands."""
    return "\n".join(_helped(cli, []))


def sections(docstring: str) -> tuple[str, dict[str, dict[str, str]]]:
    """Return what a docstring says before its sections, and the items of each section."""
    text, found = "", {}
    for part in re.split(r"\n\n(?=(?:Parameters|Columns|Raises):\n)", inspect.cleandoc(docstring)):
        head, _, body = part.partition(":\n")
        if head not in ("Parameters", "Columns", "Raises"):
            text += part
            continue
        items = re.findall(r"^    (\w+): ((?:.+\n?)(?:^ {5,}.+\n?)*)", body, re.MULTILINE)
        found[head] = {name: _one_line(value) for name, value in items}
    return text, found


def page(path: Path, name: str, written: str) -> str:
    """Return a page with the part between its marks replaced."""
    text = path.read_text(encoding="utf-8")
    begin, end = BEGIN.format(name=name), END.format(name=name)
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n\n{written.strip()}\n\n{end}{rest.partition(end)[2]}"


def pages() -> dict[Path, str]:
    """Return the pages as they should be."""
    return {
        SQL: page(SQL, "functions", sql_reference()),
        COMMANDS: page(COMMANDS, "commands", command_reference()),
    }


def _described(one: Described, types: Sequence[tuple[str, str]] = ()) -> Iterator[str]:
    text, found = sections(one.function.__doc__ or "")
    _, shared = sections(Functions.__doc__ or "")
    yield f"### {one.name}"
    yield f"\n`{one.signature}`\n"
    yield _what(text)
    if one.parameters:
        known = {**shared["Parameters"], **found.get("Parameters", {})}
        yield "\n| parameter | |\n| --- | --- |"
        for name, parameter in zip(one.parameters, _parameters(one.function), strict=True):
            yield f"| `{name}` | {_said(one, known, parameter)} |"
    if one.columns:
        yield "\n| column | SQLite | DuckDB | |\n| --- | --- | --- | --- |"
        for name, (sqlite, duckdb) in zip(one.columns, types, strict=True):
            yield f"| `{name}` | {sqlite} | {duckdb} | {_said(one, found.get('Columns', {}), name)} |"
    asked = {"UnknownIndexError": "index", "FilterError": "filter", "UnknownModelError": "model"}
    errors = ["`InputError`"] if one.parameters else []
    errors += [f"`{error}`" for error, name in asked.items() if name in one.parameters]
    for error, text in found.get("Raises", {}).items():
        known_text = shared["Raises"].get(error) == text
        errors.append(f"`{error}`" + ("" if known_text else f": {text[0].lower()}{text[1:].rstrip('.')}"))
    if errors:
        yield f"\nErrors: {'; '.join(errors)}."


def _what(text: str) -> str:
    """Return a docstring as a description of the value: without its Return."""
    return re.sub(r"^Return (\w)", lambda first: first[1].upper(), text)


def _said(one: Described, known: dict[str, str], name: str) -> str:
    if name not in known:
        raise SystemExit(f"the docstring of {one.name}() does not describe {name}: see scripts/reference.py")
    return known[name]


def _types(one: Described, sqlite: sqlrag.Database, duckdb: sqlrag.Database) -> list[tuple[str, str]]:
    """Return the types of a table function's columns on both engines."""
    names = ", ".join(f'typeof("{column}")' for column in one.columns)
    row = sqlite.execute(f"SELECT {names} FROM {one.call()}").fetchone()
    declared = [kind for _, kind in duckdb.describe(one.select())]
    assert row is not None
    of_null = {"BIGINT": "INTEGER", "DOUBLE": "REAL"}
    kinds = [(str(kind).upper(), str(other)) for kind, other in zip(row, declared, strict=True)]
    return [(of_null[other] if kind == "NULL" else kind, other) for kind, other in kinds]


def _value(one: Described, sqlite: sqlrag.Database, duckdb: sqlrag.Database) -> Iterator[str]:
    """Say which type a scalar has on both engines."""
    ((kind,),) = sqlite.execute(f"SELECT typeof({one.call()})").fetchall()
    ((_, other),) = duckdb.describe(one.select())
    yield f"\nType: {kind.upper()} on SQLite, {other} on DuckDB."


def _nulls(one: Described, sqlite: sqlrag.Database, duckdb: sqlrag.Database) -> Iterator[str]:
    """Say what NULL for a required parameter does; both engines have to do the same."""
    outcomes: dict[str, list[str]] = {}
    for name in one.parameters[: one.required]:
        outcome = _outcome(sqlite, one.select(name))
        assert outcome == _outcome(duckdb, one.select(name)), (one.name, name)
        outcomes.setdefault(outcome, []).append(f"`{name}`")
    if outcomes:
        said = [f"{_either(names)} {outcome}" for outcome, names in outcomes.items()]
        yield f"\nNULL for {'; NULL for '.join(said)}."


def _either(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _outcome(database: sqlrag.Database, statement: str) -> str:
    try:
        rows = database.execute(statement).fetchall()
    except Error as error:
        return f"is an `{type(error).__name__}`"
    if not rows:
        return "returns no rows"
    assert rows in ([(None,)], [(0,)]), statement
    return "returns NULL" if rows == [(None,)] else "changes nothing and returns 0"


def _helped(command: click.Command, path: list[str]) -> Iterator[str]:
    done = CliRunner().invoke(cli, [*path, "--help"], prog_name="sqlrag", env={"COLUMNS": "80"})
    name = " ".join(["sqlrag", *path])
    yield f"## {name}\n\n```console\n$ {name} --help\n{done.stdout.strip()}\n```\n"
    if isinstance(command, click.Group):
        for below in command.commands:
            yield from _helped(command.commands[below], [*path, below])


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def main() -> int:
    """Write the pages, or compare them."""
    stale = {path: text for path, text in pages().items() if text != path.read_text(encoding="utf-8")}
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"docs/{path.name} is not what the code says: run python scripts/reference.py")
        return int(bool(stale))
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
