"""The SQL functions of a DuckDB connection: macros (sql/duckdb/macros.sql) over Python functions of its instance."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from sqlrag.engines.duckdb.udfs import PLAIN, PREFIX
from sqlrag.engines.functions import Functions, arities
from sqlrag.errors import Error
from sqlrag.models.loaded import load_embedder
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from sqlrag.engines.duckdb.session import Session

_CALLS = re.compile(r"\b(_sqlrag_\w+|list|txid_current|unnest)\(")
"""The functions that the macros call."""

__all__ = ["define_functions", "define_served"]


def define_functions(
    connection: duckdb.DuckDBPyConnection, session: Session, maintenance: Mapping[str, Sequence[int]] | None = None
) -> None:
    """Make the functions of the contract callable, for a session, on its connection.

    `maintenance`: the functions that change the database, each with the numbers of arguments that it takes.
    """
    macros = _macros(session)
    changing = [_maintenance_macro(session, name, arguments) for name, arguments in (maintenance or {}).items()]
    connection.execute("\n".join([macros, *changing]))
    session.indexes.define(macros)


def define_served(connection: duckdb.DuckDBPyConnection, session: Session) -> None:
    """Make them callable in all sessions of a DuckDB instance that serves the database.

    The macros become entries of the connection's database, which must be another than the served one.
    """
    connection.execute(_macros(session).replace("OR REPLACE TEMP MACRO", "MACRO"))


def _macros(session: Session) -> str:
    session.key_type = session.indexes.key_type()
    types = {"dimension": _dimension(session), "key_type": session.key_type}
    macros = statement("duckdb/macros", **types) + statement("duckdb/measures") + "".join(map(_plain_macro, PLAIN))
    # A macro of the file's, or of the connection's, may have the name of any function.
    return _CALLS.sub(r"system.main.\1(", macros).replace("'session'", f"'{session.token}'")


def _plain_macro(name: str) -> str:
    """Return the macro of a scalar function that sql/duckdb/macros.sql does not have: the token, then its arguments."""
    arguments = list(inspect.signature(getattr(Functions, name)).parameters)[1:]
    forms = []
    for count in arities(name):
        given = ", ".join(["'session'", *arguments[:count], *["NULL"] * (len(arguments) - count)])
        forms.append(f"({', '.join(arguments[:count])}) AS {PREFIX}{name}({given})")
    return f"CREATE OR REPLACE TEMP MACRO {name} {', '.join(forms)};\n"


def _dimension(session: Session) -> int:
    """Return the width of embed()'s vectors: of the database's own model, of the bundled one if it is not here."""
    try:
        return session.functions.encoders.embedder.dimension
    except Error:
        return load_embedder().dimension  # embed() itself says what is missing


def _maintenance_macro(session: Session, name: str, arguments: Sequence[int]) -> str:
    """Return the macro for a function that changes the database, with any of these numbers of arguments."""
    most = max(*arguments, 1)
    names = [f"argument{number}" for number in range(most)]
    forms = []
    for count in arguments:
        given = [f"'{session.token}'", f"'{name}'", *names[:count], *["NULL"] * (most - count)]
        forms.append(f"({', '.join(names[:count])}) AS system.main._sqlrag_maintain({', '.join(given)})")
    return f"CREATE OR REPLACE TEMP MACRO {name} {', '.join(forms)};"
