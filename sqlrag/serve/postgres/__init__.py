"""A server for clients of PostgreSQL: its wire protocol, version 3, in front of a confined database.

https://www.postgresql.org/docs/current/protocol.html. Tried before: buenavista 0.5 (PyPI). It has no SCRAM (MD5 alone),
no SQLSTATE in its errors, does not skip to Sync after one, reads a parameter without a type as a date and none that is
NULL, ends the connection on a parameter that it does not know, cannot cancel (a cancel request closes the session
of DuckDB while it runs), has no limit of time, rows or connections, answers psql's list of tables with an error, calls
a method that DuckDB 2 no longer has, and knows nothing of SQLite. So this is a server of our own, in threads: a
connection is a thread that reads a message, runs it in its own confined database and writes the answer, with blocking
sockets, so that a client that reads slowly is waited for by its own thread alone.

SQL is the engine's own; only `$1` and a cast of it are PostgreSQL's (`statements`). Questions to PostgreSQL's catalog
are answered by a catalog of our own (`catalog`). BEGIN and COMMIT are accepted, but each statement sees the database as
it is when it runs.
"""
