-- Recall against context: the share of the relevant documents in an LLM's context, if it is filled with the candidates
-- in their order, before or after reranking, until the next one would exceed a budget. :budgets is a JSON array of
-- numbers of tokens.
WITH passage AS (
    SELECT candidate.query_id, document.document_id, candidate.chunk_id, candidate.rank, document.token_count,
           {fused}
           AS fused
    FROM   temp.evaluation_candidates AS candidate
    JOIN   temp.evaluation_documents AS document ON document.chunk_id = candidate.chunk_id
    JOIN   temp.evaluation_scores AS scored
           ON scored.query_id = candidate.query_id AND scored.chunk_id = candidate.chunk_id
    WHERE  candidate.first_stage = :first_stage AND candidate.rank <= :top_k
),
packed AS (
    SELECT 0 AS reranked, query_id, document_id,
           sum(token_count) OVER (PARTITION BY query_id ORDER BY rank, chunk_id) AS total
    FROM   passage
    UNION ALL
    SELECT 1, query_id, document_id,
           sum(token_count) OVER (PARTITION BY query_id ORDER BY fused DESC, rank, chunk_id)
    FROM   passage
),
document AS (
    SELECT   reranked, query_id, document_id, min(total) AS total,
             row_number() OVER (PARTITION BY reranked, query_id ORDER BY min(total), document_id) AS rank
    FROM     packed
    GROUP BY reranked, query_id, document_id
),
recalled AS (
    SELECT   stage.reranked, budget.tokens, qrels.query_id,
             recall_at_k(CASE WHEN document.total <= budget.tokens THEN document.rank END, qrels.relevance, :top_k)
                 AS recall
    FROM     (SELECT 0 AS reranked UNION ALL SELECT 1) AS stage
    CROSS JOIN (SELECT CAST(value AS BIGINT) AS tokens FROM json_each(:budgets)) AS budget
    CROSS JOIN temp.evaluation_qrels AS qrels
    LEFT JOIN document ON document.reranked = stage.reranked
              AND document.query_id = qrels.query_id AND document.document_id = qrels.document_id
    GROUP BY stage.reranked, budget.tokens, qrels.query_id
)
SELECT   reranked, tokens, avg(recall) FROM recalled GROUP BY reranked, tokens ORDER BY reranked, tokens;
