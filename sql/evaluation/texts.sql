-- What the second stage has to read for one query: the texts of all its candidates.
SELECT DISTINCT chunk.text
FROM   (SELECT DISTINCT chunk_id FROM temp.evaluation_candidates WHERE query_id = :query_id) AS candidate
JOIN   {main}.chunks AS chunk ON chunk.id = candidate.chunk_id;
