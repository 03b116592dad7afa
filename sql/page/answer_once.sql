WITH ranked AS (
    SELECT   c.id, c.text, rerank_score({question}, {passage}{reranker}) AS score{first}, hit.rank
    FROM     {function}({arguments}) AS hit  -- stage 1: top_k
    JOIN     chunks AS c ON c.id = hit.id
),
ordered AS (
    SELECT   *,
             {fused} AS fused  -- stage 2: cross-encoder
    FROM     ranked
)
SELECT   id, text, score
FROM    (SELECT *, row_number() OVER (PARTITION BY text ORDER BY fused DESC, rank) AS copy FROM ordered) AS numbered
WHERE    copy = 1  -- a passage that several documents have counts once
ORDER BY fused DESC, rank
LIMIT    {top_n};  -- top_n
