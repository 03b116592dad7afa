-- Second stage: the score of each candidate of one query, from any of the first stages.
INSERT INTO temp.evaluation_scores (query_id, chunk_id, score)
SELECT :query_id, chunk.id, rerank_score(:query, {passage})
FROM   (SELECT DISTINCT chunk_id FROM temp.evaluation_candidates WHERE query_id = :query_id) AS candidate
JOIN   {main}.chunks AS chunk ON chunk.id = candidate.chunk_id;
