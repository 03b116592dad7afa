-- What sqlrag keeps in a SQLite database besides the indexes themselves.

-- One row a fact about the whole database: schema_version, embedder (the database's default model).
CREATE TABLE IF NOT EXISTS main.sqlrag_meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- One row an index. An index is named after its chunk table.
CREATE TABLE IF NOT EXISTS main.sqlrag_indexes (
    name            TEXT PRIMARY KEY,
    source_table    TEXT    NOT NULL,     -- the table whose rows are indexed
    source_key      TEXT    NOT NULL,     -- its key, what chunks.source_id holds; of several columns a JSON array
    embedder        TEXT    NOT NULL,     -- the bi-encoder that made the vectors ...
    embedder_hash   TEXT    NOT NULL,     -- ... SHA-256 of its weights
    dimension       INTEGER NOT NULL,
    query_prompt    TEXT    NOT NULL,     -- what the model wants before a query, '' for most
    document_prompt TEXT    NOT NULL,
    window          INTEGER NOT NULL,     -- how many tokens of a text the model reads
    max_tokens      INTEGER NOT NULL,     -- chunking: at most this many tokens ...
    overlap         INTEGER NOT NULL,     -- ... of which this many repeat the chunk before
    version         INTEGER NOT NULL DEFAULT 0, -- DuckDB: which state of its tables an index file shows
    tokenizer       TEXT    NOT NULL DEFAULT 'porter',  -- of the full text: porter, unicode61 or trigram
    vectors         TEXT    NOT NULL DEFAULT 'float32', -- how vectors are kept: float32 or int8
    template        TEXT    NOT NULL DEFAULT '',        -- a row's text: '{title}: {body}'; '' for documents
    filters         TEXT    NOT NULL DEFAULT '[]',      -- JSON: the source's columns that hits carry along
    tracking        TEXT    NOT NULL DEFAULT '',        -- of changes: triggers, compare or view; '' for documents
    context         TEXT    NOT NULL DEFAULT ''         -- 'headings': chunks have a context; '' before schema 4
);

-- How many chunks of an index a search for the :k nearest compares in full, as measured on vectors of the index itself.
CREATE TABLE IF NOT EXISTS main.sqlrag_candidates (
    index_name TEXT    NOT NULL,
    k          INTEGER NOT NULL,
    candidates INTEGER NOT NULL,
    recall     REAL    NOT NULL,          -- of the k nearest chunks, with so many candidates
    chunks     INTEGER NOT NULL,          -- how many the index had then
    PRIMARY KEY (index_name, k)
) WITHOUT ROWID;
