-- First stage: the :k candidates of one query, from {function}.
INSERT INTO temp.evaluation_candidates (first_stage, query_id, chunk_id, rank, score)
SELECT :first_stage, :query_id, hit.id, hit.rank, {score} FROM {function}(:index, :query, :k) AS hit;
