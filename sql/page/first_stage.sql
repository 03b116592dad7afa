-- The page: the candidates of a first stage, to time it.
SELECT hit.id FROM {function}(:index, :question, :top_k, :filter) AS hit;
