-- search(): the places of candidates in their order after the second stage. :candidates is a JSON array of
-- [reranker's score, first stage's score] in the order of the first stage. Without a score they follow in that order.
WITH candidate AS (
    SELECT key AS place, CAST(value ->> 0 AS REAL) AS score, CAST(value ->> 1 AS REAL) AS first
    FROM   main.json_each(:candidates)
),
scored AS (
    SELECT place,
           {fused}
           AS fused
    FROM   candidate
)
SELECT   place
FROM     scored
ORDER BY fused IS NULL, fused DESC, place;
