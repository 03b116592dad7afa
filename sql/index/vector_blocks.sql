-- The vectors of a vec0 table as it keeps them: blocks after the number :after, at most :most of them, -1 for
-- all. The condition is one on the cell, or none.
SELECT   block.chunk_id, block.validity, block.rowids, vectors.vectors
FROM     main.{table}_chunks AS block
JOIN     main.{table}_vector_chunks00 AS vectors ON vectors.rowid = block.chunk_id
WHERE    block.chunk_id > :after {condition}
ORDER BY block.chunk_id
LIMIT    :most;
