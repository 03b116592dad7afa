-- A part of hybrid_top_k: the nearest chunks are known, :near is a JSON array of `[id, distance]`. With a filter they
-- may take more than one statement to find (sqlrag/index/filtered.py).
nearest AS MATERIALIZED (
    SELECT value ->> 0 AS id, value ->> 1 AS distance FROM main.json_each(:near)
)
