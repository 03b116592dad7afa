"""DuckDB's extensions `quack` and `httpfs`: from DuckDB's own folder, or from the wheels of its Python package."""

from __future__ import annotations

import importlib.util
import os

import duckdb

from sqlrag.errors import MissingDependencyError

__all__ = ["load_extensions"]

_NAMES = ("httpfs", "quack")
"""quack makes its session ids with the cryptography of httpfs."""


def load_extensions(connection: duckdb.DuckDBPyConnection) -> None:
    """Load the extensions. Raises MissingDependencyError where this DuckDB does not have them; nothing is fetched."""
    for name in _NAMES:
        _load(connection, name)


def _load(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    try:
        connection.execute(f"LOAD {name}")
    except duckdb.Error as error:
        wheel = _in_wheel(name)
        if wheel is None:
            raise MissingDependencyError(
                f"DuckDB {duckdb.__version__} does not have its extension {name} here: "
                'pip install "sqlrag[quack]" (which brings another DuckDB), '
                "or, with a network, python -c 'import duckdb; duckdb.sql(\"INSTALL httpfs; INSTALL quack\")'"
            ) from error
        connection.execute(f"LOAD '{wheel.replace(chr(39), chr(39) * 2)}'")


def _in_wheel(name: str) -> str | None:
    """Return the file of the package duckdb-extension-NAME for this DuckDB, None where it is not installed."""
    package = importlib.util.find_spec(f"duckdb_extension_{name}")
    if package is None or package.origin is None:
        return None
    folder = os.path.join(os.path.dirname(package.origin), "extensions", f"v{duckdb.__version__}")
    file = os.path.join(folder, f"{name}.duckdb_extension")
    return file if os.path.exists(file) else None
