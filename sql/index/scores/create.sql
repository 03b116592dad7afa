-- The score cache: what pairs of a query and a text scored, those that were used last. Only where it was asked for.
CREATE TABLE IF NOT EXISTS main.sqlrag_scores (
    used  INTEGER PRIMARY KEY,            -- a clock: the row that was used last has the highest
    model BLOB    NOT NULL,               -- hash of the weights and of all else that decides a score, 16 bytes
    pair  BLOB    NOT NULL,               -- hash of query and text, 16 bytes
    score REAL    NOT NULL,
    hits  INTEGER NOT NULL DEFAULT 0,     -- how often a process took the score from here
    UNIQUE (model, pair)
);
