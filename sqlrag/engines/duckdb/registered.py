"""The SQL functions in a DuckDB connection that the user opened."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb

from sqlrag.engines.duckdb.at_exit import close_registered_at_exit
from sqlrag.engines.duckdb.error_translation import Raised, translated
from sqlrag.engines.duckdb.functions import define_functions
from sqlrag.engines.duckdb.instance_functions import lend
from sqlrag.engines.duckdb.opening import open_session, score_table, warning
from sqlrag.engines.duckdb.schema_check import check_functions
from sqlrag.errors import InputError

if TYPE_CHECKING:
    from sqlrag.engines.options import ConnectionOptions
    from sqlrag.store.encoders import Encoders

__all__ = ["register_duckdb"]


def register_duckdb(connection: duckdb.DuckDBPyConnection, encoders: Encoders, options: ConnectionOptions) -> None:
    """Register the functions in a DuckDB connection. The index file is beside its database."""
    # All rows are fetched: DuckDB 2 registers no function while a result is unfinished.
    ((path, read_only),) = connection.execute(
        "SELECT path, readonly FROM duckdb_databases() WHERE database_name = current_database()"
    ).fetchall()
    path = path or ":memory:"
    options = replace(options, read_only=read_only)
    table = score_table(path, options)
    raised = Raised()
    session = open_session(connection, path, encoders, options, scores=table, raised=raised)
    close_registered_at_exit(connection, session)

    def end() -> None:
        session.end()
        table.close()

    session.asking = warning(
        session.indexes, "a registered connection brings none in", f"call sqlrag.connect({path!r}).sync()"
    )
    with translated(path, raised):
        check_functions(session.indexes.cursor, path)
        lend(connection, session.indexes.cursor, path, end)
        try:
            define_functions(connection, session)
        except duckdb.CatalogException as error:  # a transaction that began before does not see them
            raise InputError(
                "register(): the connection is in a transaction that does not see the functions: COMMIT or ROLLBACK it "
                "first"
            ) from error
