-- The temporary tables of an evaluation, which belong to the connection and change no file.
-- evaluation_queries, evaluation_qrels and evaluation_run are made by sql/evaluation/queries.sql, qrels.sql and run.sql.

-- The document that each chunk counts for, by the id that the judgements have for it.
DROP TABLE IF EXISTS temp.evaluation_documents;
CREATE TEMP TABLE evaluation_documents (
    chunk_id    BIGINT PRIMARY KEY,
    document_id TEXT,
    token_count BIGINT NOT NULL
);

-- The candidates of the first stages. Ranks begin at 1.
DROP TABLE IF EXISTS temp.evaluation_candidates;
CREATE TEMP TABLE evaluation_candidates (
    first_stage TEXT   NOT NULL,          -- 'vector', 'text', 'hybrid' or 'run'
    query_id    TEXT   NOT NULL,
    chunk_id    BIGINT NOT NULL,
    rank        BIGINT NOT NULL,
    score       DOUBLE NOT NULL,          -- what counts beside the reranker's score; 0 if nothing does
    PRIMARY KEY (first_stage, query_id, chunk_id)
);

-- The scores of the second stage: each pair once, from any of the first stages.
DROP TABLE IF EXISTS temp.evaluation_scores;
CREATE TEMP TABLE evaluation_scores (
    query_id TEXT   NOT NULL,
    chunk_id BIGINT NOT NULL,
    score    DOUBLE NOT NULL,
    PRIMARY KEY (query_id, chunk_id)
);

-- The measures of each query: first stage × top_k × before (0) and after (1) reranking.
DROP TABLE IF EXISTS temp.evaluation_measures;
CREATE TEMP TABLE evaluation_measures (
    first_stage  TEXT   NOT NULL,
    top_k        BIGINT NOT NULL,
    reranked     BIGINT NOT NULL,
    query_id     TEXT   NOT NULL,
    ndcg         DOUBLE,                  -- at the cut-off, 10
    mrr          DOUBLE,                  -- at the cut-off
    recall       DOUBLE,                  -- at the cut-off
    recall_top_k DOUBLE                   -- of all top_k candidates: what reranking cannot change
);
