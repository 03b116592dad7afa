"""The one index implementation: sqlite-vec and FTS5 inside SQLite. It knows nothing of files, CLI or DuckDB."""
