"""The records of the indexes in a DuckDB database, which its table sqlrag_indexes holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.engines.duckdb.schema_check import check_tables, check_tables_of
from sqlrag.store.names import quote
from sqlrag.store.registry import known_columns, record_of

if TYPE_CHECKING:
    import duckdb

    from sqlrag.store.registry import IndexRecord

__all__ = ["stored_records"]


def stored_records(connection: duckdb.DuckDBPyConnection) -> list[IndexRecord]:
    """Return the record of each index, by name; none for a database without sqlrag's tables.

    Raises NotADatabaseError for what sqlrag never writes.
    """
    tables = check_tables(connection)
    if "sqlrag_indexes" not in tables:
        return []
    described = connection.execute("SELECT * FROM sqlrag_indexes LIMIT 0").description or []
    columns = known_columns({column[0] for column in described})
    names = ", ".join(map(quote, columns))
    rows = connection.execute(f"SELECT {names} FROM sqlrag_indexes ORDER BY name ASC").fetchall()
    records = [record_of(columns, row) for row in rows]
    check_tables_of(connection, tables, records)
    return records
