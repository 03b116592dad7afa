"""The index itself, the same for both engines: sqlite-vec and FTS5 inside a SQLite file. Nothing here is public."""
