-- What changes whenever chunks or vectors of an index come or go, for each block of 2^{bits} ids: where two states
-- differ in a block, its rows are compared one by one. Counts and sums of narrow columns: texts are not read.
-- Another name takes the place of the word `chunks`.

WITH counted AS (
    SELECT id >> {bits} AS block, count(*) AS rows, sum(id) AS ids, sum(hash(source_id)) AS sources, sum(end_char) AS ends,
           0 AS vectors, 0 AS vector_ids
    FROM   chunks
    GROUP  BY block
    UNION ALL
    SELECT id >> {bits} AS block, 0, 0, 0, 0, count(*), sum(id)
    FROM   chunks_embedding
    GROUP  BY block
)
SELECT   block, [sum(rows), sum(ids), sum(sources), sum(ends), sum(vectors), sum(vector_ids)]::VARCHAR
FROM     counted
GROUP BY block
ORDER BY block ASC;
