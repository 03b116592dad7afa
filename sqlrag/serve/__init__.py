"""Servers: a database over HTTP, MCP, PostgreSQL's and DuckDB's protocols; the models for other processes.

Nothing here is public: the servers are started by `sqlrag serve` and `sqlrag mcp`. Public are the protocols, which
docs/access.md and docs/protocol.md describe.
"""
