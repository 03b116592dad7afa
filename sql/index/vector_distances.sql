-- vector_top_k among the chunks whose ids are listed in :ids, a JSON array: each is looked up by itself.
WITH hit AS MATERIALIZED (
    SELECT   wanted.value AS id, {distance} AS distance
    FROM     main.json_each(:ids) AS wanted
    CROSS JOIN main.{kept} AS kept ON kept.rowid = wanted.value     -- CROSS: in this order
    ORDER BY distance, id
    LIMIT    :k
)
SELECT   id, distance, row_number() OVER (ORDER BY distance, id) AS rank
FROM     hit
ORDER BY rank;
