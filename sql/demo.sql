SELECT   c.id, c.text, rerank_score(:q, c.text) AS score
FROM     vector_top_k('chunks', embed(:q), 25) AS hit      -- stage 1: top_k
JOIN     chunks AS c ON c.id = hit.id
ORDER BY score DESC                                        -- stage 2: cross-encoder
LIMIT    3;                                                -- top_n
