-- The index `chunks_next`, made beside, takes the place of `chunks`, which is empty by now and has no trigger on inserts:
-- all in one transaction. vec0 tables cannot be renamed, so what they hold is copied, by sql/index/switch_float32.sql or
-- switch_int8.sql.
INSERT INTO main.chunks SELECT * FROM main.chunks_next ORDER BY id;

-- What FTS5 keeps, as it lies: to cut each text into words again takes several times as long, while other writers wait.
DELETE FROM main.chunks_fts_data;
INSERT INTO main.chunks_fts_data SELECT * FROM main.chunks_next_fts_data;
INSERT INTO main.chunks_fts_idx SELECT * FROM main.chunks_next_fts_idx;
INSERT INTO main.chunks_fts_docsize SELECT * FROM main.chunks_next_fts_docsize;

{vectors}
