"""A DuckDB database for DuckDB clients, by DuckDB's own remote protocol: `sqlrag serve --quack`."""
