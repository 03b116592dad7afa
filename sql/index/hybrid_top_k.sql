-- hybrid_top_k: reciprocal rank fusion of vectors and BM25,
--     score = sum over both lists of 2 * weight / (60 + rank)
-- (Cormack, Clarke, Büttcher: Reciprocal Rank Fusion outperforms Condorcet ..., SIGIR 2009; 60 is theirs.)
-- The vectors have the weight :vector_weight, from 0 to 1, the words the rest: at 0.5 the score is the paper's,
-- at 0 or 1 one list counts alone.
-- :depth is how far down each list is read, at least :k.
-- :near is a JSON array of ids, the :depth nearest of vector_top_k.
WITH worded AS MATERIALIZED (
    SELECT   rowid AS id, bm25(chunks_fts) AS bm25
    FROM     main.chunks_fts
    WHERE    chunks_fts MATCH :match {word_filter}
    ORDER BY bm25, id
    LIMIT    :depth
),
ranked AS (
    SELECT value AS id, key + 1 AS rank, 2.0 * :vector_weight AS weight FROM main.json_each(:near)
    UNION ALL
    SELECT id, row_number() OVER (ORDER BY bm25, id), 2.0 * (1.0 - :vector_weight) FROM worded
),
fused AS (
    SELECT   id, sum(weight / (60 + rank)) AS score, min(rank) AS best
    FROM     ranked
    WHERE    weight > 0
    GROUP BY id
)
SELECT   id, score, row_number() OVER (ORDER BY score DESC, best, id) AS rank
FROM     fused
ORDER BY rank
LIMIT    :k;
