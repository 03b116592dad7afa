-- text_top_k: the :k chunks with the best BM25 for :match, best first.
-- FTS5's bm25() is negative, lower is better (https://www.sqlite.org/fts5.html#the_bm25_function): turned here.
-- {bm25} is that function, or sqlrag_bm25() with the {statistics} of all shards of an index (sqlrag/spark/bm25.py).
WITH hit AS MATERIALIZED (
    SELECT   rowid AS id, -{bm25}(chunks_fts{statistics}) AS score
    FROM     main.chunks_fts
    WHERE    chunks_fts MATCH :match {word_filter}
    ORDER BY score DESC, id
    LIMIT    :k
)
SELECT   id, score, row_number() OVER (ORDER BY score DESC, id) AS rank
FROM     hit
ORDER BY rank;
