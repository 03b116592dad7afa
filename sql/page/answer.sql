SELECT   c.id, c.text, rerank_score({question}, {passage}{reranker}) AS score
FROM     {function}({arguments}) AS hit  -- stage 1: top_k
JOIN     chunks AS c ON c.id = hit.id
ORDER BY score DESC, hit.rank  -- stage 2: cross-encoder
LIMIT    {top_n};  -- top_n
