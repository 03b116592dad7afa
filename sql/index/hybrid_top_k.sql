-- hybrid_top_k: reciprocal rank fusion of vectors and BM25,
--     score = sum over both lists of 1 / (60 + rank)
-- (Cormack, Clarke, Büttcher: Reciprocal Rank Fusion outperforms Condorcet ..., SIGIR 2009; 60 is theirs.)
-- :depth is how far down each list is read, at least :k.
WITH {probed},
scanned AS MATERIALIZED (
    SELECT rowid AS id, {distance} AS distance
    FROM   chunks_vec
    WHERE  embedding MATCH {query} AND k = :depth {cells} {filter}
),
nearest AS MATERIALIZED (
    SELECT id, distance FROM scanned ORDER BY distance, id LIMIT :depth
),
worded AS MATERIALIZED (
    SELECT   rowid AS id, bm25(chunks_fts) AS bm25
    FROM     chunks_fts
    WHERE    chunks_fts MATCH :match {word_filter}
    ORDER BY bm25, id
    LIMIT    :depth
),
ranked AS (
    SELECT id, row_number() OVER (ORDER BY distance, id) AS rank FROM nearest
    UNION ALL
    SELECT id, row_number() OVER (ORDER BY bm25, id) FROM worded
),
fused AS (
    -- the better rank first, so that floating-point addition has one order
    SELECT id, 1.0 / (60 + min(rank)) + iif(count(*) = 2, 1.0 / (60 + max(rank)), 0.0) AS score, min(rank) AS best
    FROM   ranked
    GROUP BY id
)
SELECT   id, score, row_number() OVER (ORDER BY score DESC, best, id) AS rank
FROM     fused
ORDER BY rank
LIMIT    :k;
