-- The passages of all candidates of one query, for the second stage.
SELECT DISTINCT {passage}
FROM   (SELECT DISTINCT chunk_id FROM temp.evaluation_candidates WHERE query_id = :query_id) AS candidate
JOIN   {main}.chunks AS chunk ON chunk.id = candidate.chunk_id;
