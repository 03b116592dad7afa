-- The measures of each query for one first stage and one top_k, before and after reranking the same candidates.
INSERT INTO temp.evaluation_measures
WITH passage AS (
    SELECT candidate.query_id, document.document_id, candidate.rank,
           {fused}
           AS fused
    FROM   temp.evaluation_candidates AS candidate
    JOIN   temp.evaluation_documents AS document ON document.chunk_id = candidate.chunk_id
    JOIN   temp.evaluation_scores AS scored
           ON scored.query_id = candidate.query_id AND scored.chunk_id = candidate.chunk_id
    WHERE  candidate.first_stage = :first_stage AND candidate.rank <= :top_k
),
document AS (
    -- A document counts as its best chunk.
    SELECT   query_id, document_id, min(rank) AS rank, max(fused) AS fused
    FROM     passage
    GROUP BY query_id, document_id
),
run AS (
    SELECT 0 AS reranked, query_id, document_id,
           row_number() OVER (PARTITION BY query_id ORDER BY rank, document_id) AS rank
    FROM   document
    UNION ALL
    SELECT 1, query_id, document_id,
           row_number() OVER (PARTITION BY query_id ORDER BY fused DESC, rank, document_id)
    FROM   document
),
judged AS (
    -- qrels FULL JOIN run, written so that SQLite finds each row by key
    SELECT stage.reranked, qrels.query_id, run.rank, qrels.relevance
    FROM   (SELECT 0 AS reranked UNION ALL SELECT 1) AS stage
    CROSS JOIN temp.evaluation_qrels AS qrels
    LEFT JOIN run ON run.reranked = stage.reranked
              AND run.query_id = qrels.query_id AND run.document_id = qrels.document_id
    UNION ALL
    SELECT run.reranked, run.query_id, run.rank, NULL
    FROM   run
    LEFT JOIN temp.evaluation_qrels AS qrels
              ON qrels.query_id = run.query_id AND qrels.document_id = run.document_id
    WHERE  qrels.query_id IS NULL
)
SELECT   :first_stage, :top_k, reranked, query_id,
         ndcg(rank, relevance, :cutoff), mrr(rank, relevance, :cutoff), recall_at_k(rank, relevance, :cutoff),
         recall_at_k(rank, relevance, :top_k)
FROM     judged
GROUP BY reranked, query_id;
