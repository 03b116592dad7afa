-- Ids of :count chunks of the index `chunks`, at even steps through all: to see what share of them a filter lets through.
WITH RECURSIVE step (number) AS (
    SELECT 0 UNION ALL SELECT number + 1 FROM step WHERE number + 1 < :count
),
last AS MATERIALIZED (
    SELECT max(id) AS id FROM chunks
)
SELECT DISTINCT (SELECT min(chunk.id) FROM chunks AS chunk WHERE chunk.id >= number * last.id / :count) AS id
FROM   step, last
WHERE  last.id IS NOT NULL;
