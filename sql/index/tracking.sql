-- Triggers on the table {table} that the index `chunks` is over: any client that writes to it fills the queue, with
-- nothing but SQLite. They only append: a REPLACE or IGNORE of the writer's own statement would govern theirs too
-- (https://www.sqlite.org/lang_createtrigger.html).

CREATE TRIGGER main.chunks_source_insert AFTER INSERT ON {table} BEGIN
    INSERT INTO chunks_queue (source_id, queued_at) VALUES ({new_key}, julianday());
END;

-- A change of other columns than the text's is nothing to the index. COLLATE BINARY: 'A' is not 'a' here. No UPDATE OF:
-- it would not see a generated column, nor a key that is set as the rowid.
CREATE TRIGGER main.chunks_source_update AFTER UPDATE ON {table} WHEN {changed} BEGIN
    INSERT INTO chunks_queue (source_id, queued_at) VALUES ({new_key}, julianday());
    INSERT INTO chunks_queue (source_id, queued_at) SELECT {old_key}, julianday() WHERE {moved};
END;

CREATE TRIGGER main.chunks_source_delete AFTER DELETE ON {table} BEGIN
    INSERT INTO chunks_queue (source_id, queued_at) VALUES ({old_key}, julianday());
END;
