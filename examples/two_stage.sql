-- Both stages in one statement: vectors find 25 candidates, a cross-encoder reads them and puts the best 3 first.
-- sqlrag sql python-stdlib.db -f examples/two_stage.sql -p q="how long does a piece of code take?"

SELECT   c.id, c.text, rerank_score(:q, c.text) AS score
FROM     vector_top_k('chunks', embed(:q), 25) AS hit      -- stage 1: top_k
JOIN     chunks AS c ON c.id = hit.id
ORDER BY score DESC                                        -- stage 2: cross-encoder
LIMIT    3;                                                -- top_n
