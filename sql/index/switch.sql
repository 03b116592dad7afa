-- The index `chunks_next`, made beside, takes the place of `chunks`, which is empty by now and has no trigger on inserts:
-- all in one transaction.
INSERT INTO main.chunks SELECT * FROM main.chunks_next ORDER BY id;

-- What FTS5 keeps, as it lies: to cut each text into words again takes several times as long, while other writers wait.
DELETE FROM main.chunks_fts_data;
INSERT INTO main.chunks_fts_data SELECT * FROM main.chunks_next_fts_data;
INSERT INTO main.chunks_fts_idx SELECT * FROM main.chunks_next_fts_idx;
INSERT INTO main.chunks_fts_docsize SELECT * FROM main.chunks_next_fts_docsize;

-- vec0 tables cannot be renamed. What vec0 keeps, as it lies: a third of the time that inserting each vector takes. `rowid`
-- is a column of vec0's own in the table of vectors; it finds them by the real one, which is `_rowid_`.
INSERT INTO main.chunks_vec_chunks SELECT * FROM main.chunks_next_vec_chunks;
INSERT INTO main.chunks_vec_rowids SELECT * FROM main.chunks_next_vec_rowids;
INSERT INTO main.chunks_vec_vector_chunks00 (_rowid_, rowid, vectors)
SELECT _rowid_, rowid, vectors FROM main.chunks_next_vec_vector_chunks00;

INSERT INTO main.chunks_codes SELECT * FROM main.chunks_next_codes;
