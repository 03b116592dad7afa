-- First stage: the best :k documents of a run for one query, with all chunks of each.
INSERT INTO temp.evaluation_candidates (first_stage, query_id, chunk_id, rank, score)
SELECT :first_stage, :query_id, document.chunk_id, retrieved.rank, 0
FROM   temp.evaluation_run AS retrieved
JOIN   temp.evaluation_documents AS document ON document.document_id = retrieved.document_id
WHERE  retrieved.query_id = :query_id AND retrieved.rank <= :k;
