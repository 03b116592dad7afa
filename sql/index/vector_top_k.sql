-- vector_top_k: the :k chunks whose vectors are nearest to :vector, nearest first: of all chunks, of those that a filter lets
-- through, or of the nearest by their codes. The part in braces is a SELECT of their ids.
-- distance is Euclidean between unit vectors: cosine similarity = 1 - distance * distance / 2.
-- sqlrag_look_up() and sqlrag_ids() are of sqlrag's C library (extension/codes.h). Without it sql/index/vector_scan.sql
-- compares all, sql/index/vector_distances.sql the nearest by their codes.
WITH nearest AS MATERIALIZED (
    SELECT id, {scanned_distance} AS distance
    FROM   main.sqlrag_look_up({scanned}, :k, (SELECT sqlrag_ids(id) FROM ({passing})))
)
SELECT   id, distance, row_number() OVER (ORDER BY distance, id) AS rank
FROM     nearest
ORDER BY rank;
