-- What vec0 keeps, as it lies: a third of the time that inserting each vector takes, while other writers wait. `rowid` is
-- a column of vec0's own in the table of vectors; it finds them by the real one, which is `_rowid_`.
INSERT INTO main.chunks_vec_chunks SELECT * FROM main.chunks_next_vec_chunks;
INSERT INTO main.chunks_vec_rowids SELECT * FROM main.chunks_next_vec_rowids;
INSERT INTO main.chunks_vec_vector_chunks00 (_rowid_, rowid, vectors)
SELECT _rowid_, rowid, vectors FROM main.chunks_next_vec_vector_chunks00;
