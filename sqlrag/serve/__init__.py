"""Servers: a database over HTTP, MCP, PostgreSQL's and DuckDB's protocols; the models for other processes."""
