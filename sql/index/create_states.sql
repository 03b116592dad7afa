-- What a reranker has kept of each chunk of the index `chunks`, so that a query need not encode its text again
-- (sqlrag/models/kept.py says how a BLOB is made).
CREATE TABLE IF NOT EXISTS main.chunks_states (
    id     INTEGER PRIMARY KEY,           -- chunks.id
    states BLOB NOT NULL
);
