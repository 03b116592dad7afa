-- vector_top_k: the :k chunks whose vectors are nearest to :vector, nearest first.
-- distance is Euclidean between unit vectors: cosine similarity = 1 - distance * distance / 2.
-- sqlrag_nearest_codes(), sqlrag_look_up() and sqlrag_ids() are of sqlrag's C library (extension/codes.h). Without it
-- the candidates are found in Python, and sql/index/vector_distances.sql compares them.

-- The nearest by their codes; of the chunks whose ids are in :ids, a BLOB of 8 bytes each, where a filter gave some.
WITH candidate AS MATERIALIZED (
    SELECT id FROM main.sqlrag_nearest_codes('chunks_codes', :vector, :candidates, :ids)
),
-- Of these the nearest, at the precision that is kept.
nearest AS MATERIALIZED (
    SELECT id, {scanned_distance} AS distance
    FROM   main.sqlrag_look_up({scanned}, :k, (SELECT sqlrag_ids(id) FROM candidate))
)
SELECT   id, distance, row_number() OVER (ORDER BY distance, id) AS rank
FROM     nearest
ORDER BY rank;
