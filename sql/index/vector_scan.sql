-- vector_top_k where all chunks are compared in full, without sqlrag's C library: exact.
WITH hit AS MATERIALIZED (
    SELECT   rowid AS id, {distance} AS distance
    FROM     main.{kept} AS kept
    WHERE    1 {filter}
    ORDER BY distance, id
    LIMIT    :k
)
SELECT   id, distance, row_number() OVER (ORDER BY distance, id) AS rank
FROM     hit
ORDER BY rank;
