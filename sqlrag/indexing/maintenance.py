"""The SQL functions that change a database: `sqlrag_create_index` and its kin.

Only a statement of the user's own may call them: a view or trigger of a file that came from a stranger may not. Each
returns a number of rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError
from sqlrag.values.arguments import check_text

if TYPE_CHECKING:
    from sqlrag.database import Database
    from sqlrag.engines.base import Engine

__all__ = ["add_maintenance"]

CREATED = ("key", "filters", "max_tokens", "overlap", "embedder", "tokenizer", "vectors", "states")
ALTERED = ("text", "filters", "tokenizer")
REMADE = ("embedder", "max_tokens", "overlap", "vectors", "states", "codes_only", "states_only")
"""What the JSON object may hold that is the last argument of `sqlrag_create_index`, `_alter_index`, `_reindex`."""


def add_maintenance(database: Database, engine: Engine) -> None:
    """Give a connection the functions."""

    def create_index(name: object, table: object, text: object, options: object = None) -> int:
        """Index a table or view, and return how many rows it has indexed.

        Parameters:
            name: The name of the index and of its chunk table.
            table: The table or view.
            text: A column, a JSON array of columns, or a template of columns such as '{title}: {body}'.
            options: A JSON object with any of key, filters, max_tokens, overlap, embedder, tokenizer, vectors, states.

        Raises:
            DatabaseError: A table of yours already has a name that the index needs.
        """
        given = {"name": name, "table": table, "text": text}
        name, table, text = (check_text("sqlrag_create_index", *pair) for pair in given.items())
        chosen = _options("sqlrag_create_index", options, CREATED, engine)
        report = database.create_index(name, table, _columns(text), **chosen)
        return report.added + report.changed

    def sync(index: object = None) -> int:
        """Index the rows that have changed, and return how many.

        Parameters:
            index: The name of the index. NULL: every index over a table or view.
        """
        report = database.sync(None if index is None else check_text("sqlrag_sync", "index", index))
        return report.added + report.changed + report.removed

    def drop_index(name: object) -> int:
        """Drop an index, and return how many rows it had; a table that it is over stays as it is.

        Parameters:
            name: The name of the index.

        Raises:
            UnknownIndexError: The database has no index of this name.
        """
        name = check_text("sqlrag_drop_index", "name", name)
        rows = engine.indexes.open(name).counts()[0]
        database.drop_index(name)
        return rows

    def alter_index(name: object, options: object) -> int:
        """Change what an index is made of, and return how many rows were indexed again.

        Parameters:
            name: The name of the index.
            options: A JSON object with any of text, filters, tokenizer.

        Raises:
            UnknownIndexError: The database has no index of this name.
        """
        checked = check_text("sqlrag_alter_index", "name", name)
        chosen = _options("sqlrag_alter_index", options, ALTERED)
        if isinstance(chosen.get("text"), str):
            chosen["text"] = _columns(chosen["text"])
        report = database.alter_index(checked, **chosen)
        return report.added + report.changed

    def reindex(name: object, options: object = None) -> int:
        """Build an index again beside the old one, replace that, and return how many rows it has.

        Parameters:
            name: The name of the index.
            options: A JSON object with any of embedder, max_tokens, overlap, vectors, states, or with codes_only or
                states_only. NULL: the index as it was.

        Raises:
            UnknownIndexError: The database has no index of this name.
        """
        checked = check_text("sqlrag_reindex", "name", name)
        chosen = _options("sqlrag_reindex", options, REMADE, engine)
        report = database.reindex(checked, **chosen)
        return report.unchanged if chosen.get("codes_only") or chosen.get("states_only") else report.added

    functions: dict[str, tuple[Callable[..., int], tuple[int, ...]]] = {
        "sqlrag_create_index": (create_index, (3, 4)),
        "sqlrag_sync": (sync, (0, 1)),
        "sqlrag_drop_index": (drop_index, (1,)),
        "sqlrag_alter_index": (alter_index, (2,)),
        "sqlrag_reindex": (reindex, (1, 2)),
    }
    for name, (function, arguments) in functions.items():
        engine.add_maintenance(name, function, arguments)


def _columns(text: str) -> str | list[str]:
    """Return the text's columns: SQL has no lists, so several come as a JSON array."""
    if text.startswith("["):
        try:
            columns = json.loads(text)
        except ValueError:
            return text
        if isinstance(columns, list):
            return columns
    return text


def _options(function: str, options: object, known: Sequence[str], engine: Engine | None = None) -> dict[str, Any]:
    if options is None:
        return {}
    try:
        values = json.loads(options) if isinstance(options, str) else None
    except ValueError:
        values = None
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise InputError(
            f"{function}(): options is {options!r}: it is a JSON object with any of {', '.join(known)}, "
            "such as json_object('max_tokens', 100)"
        )
    if engine is not None and values.get("embedder") is not None:  # SQL names a model, never a path
        values["embedder"] = engine.encoders.embedder_named(values["embedder"])
    return values
