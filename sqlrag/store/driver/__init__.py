"""SQLite, from Python: how a file is opened, what is loaded into a connection, how its errors are translated."""
