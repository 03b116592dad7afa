-- vector_top_k beyond the 4,096 rows that one vec0 query may return: every distance, then a sort.
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
