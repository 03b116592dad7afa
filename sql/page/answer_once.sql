WITH ranked AS (
    SELECT   c.id, c.text, rerank_score({question}, {passage}{reranker}) AS score, hit.rank
    FROM     {function}({arguments}) AS hit  -- stage 1: top_k
    JOIN     chunks AS c ON c.id = hit.id
)
SELECT   id, text, score
FROM    (SELECT *, row_number() OVER (PARTITION BY text ORDER BY score DESC, rank) AS copy FROM ranked) AS numbered
WHERE    copy = 1  -- a passage that several documents have counts once
ORDER BY score DESC, rank  -- stage 2: cross-encoder
LIMIT    {top_n};  -- top_n
