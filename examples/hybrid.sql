-- Meaning and words: names and codes, which vectors blur, are found by their letters (BM25).
-- sqlrag sql python-stdlib.db -f examples/hybrid.sql -p q="bytes with surrogateescape"

SELECT   d.title, rerank_score(:q, c.text) AS score, hit.rank AS rank_before
FROM     hybrid_top_k('chunks', :q, 25) AS hit             -- reciprocal rank fusion, equal weights
JOIN     chunks AS c ON c.id = hit.id
JOIN     documents AS d ON d.id = c.source_id
ORDER BY score DESC
LIMIT    5;
