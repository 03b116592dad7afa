-- The vectors of the index `chunks` as vec0 keeps them: of cells before :before_cell, NULL for all; blocks after the
-- number :after, at most :most of them, -1 for all.
SELECT   block.chunk_id, block.validity, block.rowids, vectors.vectors
FROM     chunks_vec_chunks AS block
JOIN     chunks_vec_vector_chunks00 AS vectors ON vectors.rowid = block.chunk_id
WHERE    block.chunk_id > :after AND (:before_cell IS NULL OR block.partition00 < :before_cell)
ORDER BY block.chunk_id
LIMIT    :most;
