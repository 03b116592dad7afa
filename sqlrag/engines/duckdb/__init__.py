"""DuckDB as the engine: the connection, the functions and macros in it, the index file beside it."""
