-- The documents that were ingested: the source table of an index over files.
CREATE TABLE IF NOT EXISTS main.documents (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    index_name   TEXT NOT NULL,           -- the index that it was ingested into
    uri          TEXT NOT NULL,           -- a file's path; path#id for a row of a file
    title        TEXT,
    metadata     TEXT NOT NULL DEFAULT '{}',   -- JSON: metadata ->> 'author'
    content_hash TEXT NOT NULL,           -- SHA-256; 'partial:' before it while chunks are still to come
    text         TEXT NOT NULL,           -- what chunks.start_char and end_char count in
    UNIQUE (index_name, uri)
);
