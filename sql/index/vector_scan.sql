-- vector_top_k where all chunks, or all that pass a filter, are compared in full: exact. The vectors are read where vec0
-- keeps them, many in a row, in a third of the time that it takes to ask vec0 for each.
WITH hit AS MATERIALIZED (
    SELECT   kept.rowid AS id, {scanned_distance} AS distance
    FROM     main.{kept}_rowids AS kept
    CROSS JOIN main.{kept}_vector_chunks00 AS block ON block._rowid_ = kept.chunk_id
    WHERE    1 {filter}
    ORDER BY distance NULLS LAST, kept.rowid
    LIMIT    :k
)
SELECT   id, distance, row_number() OVER (ORDER BY distance NULLS LAST, id) AS rank
FROM     hit
ORDER BY rank;
