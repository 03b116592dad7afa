-- What a REPLACE deletes because of a UNIQUE constraint that is not the key, it deletes without a trigger: so what
-- stands in the way is queued before (https://www.sqlite.org/lang_conflict.html).
CREATE TRIGGER main.chunks_source_insert_{number} BEFORE INSERT ON {table} BEGIN
    INSERT INTO chunks_queue (source_id, queued_at) SELECT {key}, julianday() FROM {table} WHERE {conflict};
END;

-- No UPDATE OF here either: a column may be generated.
CREATE TRIGGER main.chunks_source_update_{number} BEFORE UPDATE ON {table} WHEN {changed} BEGIN
    INSERT INTO chunks_queue (source_id, queued_at) SELECT {key}, julianday() FROM {table} WHERE {conflict};
END;
