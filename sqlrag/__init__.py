"""Two-stage retrieval in one SQL statement, on SQLite and DuckDB."""
