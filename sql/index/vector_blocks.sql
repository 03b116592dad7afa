-- The vectors of a vec0 table as it keeps them: which places of each block are taken, by which ids, and the vectors there.
SELECT   block.validity, block.rowids, vectors.vectors
FROM     main.{table}_chunks AS block
JOIN     main.{table}_vector_chunks00 AS vectors ON vectors.rowid = block.chunk_id
ORDER BY block.chunk_id;
