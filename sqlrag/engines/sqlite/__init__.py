"""SQLite as the engine: the connection, the functions and the table functions in it."""
