"""Run a statement in the database, or in the catalog."""

from __future__ import annotations

import re
from itertools import chain, islice
from typing import Any

from sqlrag.database import Database
from sqlrag.engines.backlog_warnings import told
from sqlrag.results import Result
from sqlrag.serve.postgres.catalog import RELATIONS, CatalogCursor
from sqlrag.serve.postgres.commands import Reply
from sqlrag.serve.postgres.encoding import for_sqlite
from sqlrag.serve.postgres.rows import size_of
from sqlrag.serve.postgres.statements import Statement
from sqlrag.serve.postgres.types import BY_NAME, TEXT, PgType, of_declared, of_duckdb, of_value, widened

__all__ = ["Source"]

_LOOKED_AT = 100
"""Rows of a SQLite statement that the types of its expressions are inferred from."""

_LOOKED_AT_BYTES = 1 << 20
"""The most bytes of those rows, which are in memory together."""

_CALL = re.compile(r'"?(\w+)"?\(.*\)', re.DOTALL)

# Expressions with the names that the results of sqlrag's functions have.
_NAMED = dict.fromkeys(("score", "distance"), BY_NAME["float8"])
_NAMED |= dict.fromkeys(("rank", "rank_before", "rank_after", "reranked"), BY_NAME["int8"])

Columns = list[tuple[str, PgType]]


class Source:
    """What a session's statements run in: a confined database, and its catalog."""

    def __init__(self, database: Database, catalog: CatalogCursor) -> None:
        self._database = database
        self._catalog = catalog

    @property
    def holds_one_result(self) -> bool:
        """Whether a statement ends those before it: a connection of DuckDB has one result at a time."""
        return self._database.engine == "duckdb"

    def run(self, statement: Statement, params: list[Any], described: Columns | None = None) -> Reply:
        """Run a statement. `described` are the columns that the client already knows from a Describe."""
        if statement.asks_catalog(RELATIONS):
            found, rows = self._catalog.execute(statement.text, params)
            return Reply("SELECT", described or _of_catalog(found), iter(rows))
        sql, bindings = self._bound(statement, params)
        result = self._database.execute(sql, bindings)
        return self._typed(result, described)

    def columns(self, statement: Statement, params: list[Any]) -> Columns:
        """Return the columns of a statement whose parameters are not known yet, with types as good as possible.

        An expression in SQLite has a type only once it has a value. Without one it is a text, except for score,
        distance and rank, which are numbers.
        """
        if statement.asks_catalog(RELATIONS):
            return _of_catalog(self._catalog.execute(statement.text, params)[0])
        sql, bindings = self._bound(statement, params)
        found = self._database.describe(sql, bindings)
        if self._database.engine == "duckdb":
            return [(name, of_duckdb(kind or "")) for name, kind in found]
        columns = [(name, of_declared(kind) or _NAMED.get(name)) for name, kind in found]
        if params or all(kind for _, kind in columns):
            return [(name, kind or TEXT) for name, kind in columns]
        with told():  # the client gets them when it runs the statement
            reply = self._typed(self._database.execute(sql, bindings), None)
        reply.close()
        return reply.columns

    def interrupt(self) -> None:
        """Stop the statement that runs; may be called from another thread."""
        self._database.interrupt()
        self._catalog.interrupt()

    def close(self) -> None:
        """Close the catalog and the database."""
        self._catalog.close()
        self._database.close()

    def _bound(self, statement: Statement, params: list[Any]) -> tuple[str, Any]:
        if self._database.engine == "duckdb":
            return statement.text, params
        return statement.without_casts, {str(number): for_sqlite(value) for number, value in enumerate(params, 1)}

    def _typed(self, result: Result, described: Columns | None) -> Reply:
        rows = iter(result)
        if described is None and self._database.engine == "duckdb":
            described = [(name, of_duckdb(kind or "")) for name, kind in zip(result.columns, result.types, strict=True)]
        if described is None:
            kinds = [of_declared(kind) for kind in result.types]
            if not all(kinds):
                seen: list[tuple[Any, ...]] = []
                size = 0
                for row in islice(rows, _LOOKED_AT):
                    seen.append(row)
                    kinds = [widened(kind, of_value(value)) for kind, value in zip(kinds, row, strict=True)]
                    size += size_of(row)
                    if size > _LOOKED_AT_BYTES:
                        break
                rows = chain(seen, rows)
            described = [(name, kind or TEXT) for name, kind in zip(result.columns, kinds, strict=True)]
        return Reply("SELECT", described, rows, result.close)


def _of_catalog(found: list[tuple[str, str | None]]) -> Columns:
    """Return columns named as PostgreSQL does: a call has the name of its function."""
    columns = []
    for name, kind in found:
        call = _CALL.fullmatch(name)
        columns.append((call[1].removeprefix("to_reg") if call else name, of_duckdb(kind or "")))
    return columns
