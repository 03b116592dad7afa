-- vector_top_k where all chunks are compared in full: exact. By sqlrag's C library, as in sql/index/vector_top_k.sql, so that
-- a distance has the same digits at every k.
WITH nearest AS MATERIALIZED (
    SELECT id, {scanned_distance} AS distance
    FROM   main.sqlrag_look_up({scanned}, :k, (SELECT sqlrag_ids(id) FROM ({passing})))
)
SELECT   id, distance, row_number() OVER (ORDER BY distance, id) AS rank
FROM     nearest
ORDER BY rank;
