-- What the index `chunks` over a table of the user's own keeps besides chunks and vectors.
-- {source_type} is the type of the table's key.

-- Which text of each row is in the index. A row without text is here too, with no chunks.
CREATE TABLE main.chunks_rows (
    source_id    {source_type} PRIMARY KEY NOT NULL,
    content_hash BLOB NOT NULL
) WITHOUT ROWID;

-- Rows whose text may be another than the index has: what triggers write, in the writer's own transaction. A row may
-- stand here several times; it leaves in the transaction that brings the index to the text that it has then.
CREATE TABLE main.chunks_queue (
    number    INTEGER PRIMARY KEY,
    source_id {source_type},
    queued_at                              -- Julian day; no type and no constraint: a writer pays for each, per row
);

-- A trigger that names a table of vec0 makes ALTER TABLE fail, on every table of the file, in each client that has no
-- vec0: and the user's own have none. Only sqlrag deletes chunks here, and it deletes their vectors itself.
DROP TRIGGER main.chunks_vector_after_delete;
