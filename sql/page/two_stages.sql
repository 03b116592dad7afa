-- The page: both stages with any first stage and any reranker.
SELECT   hit.id, chunk.source_id, {document}, chunk.text, chunk.ordinal,
         rerank_score(:question, {passage}, :reranker) AS score, hit.rank
FROM     {function}(:index, :question, :top_k, :filter) AS hit
JOIN     {main}.chunks AS chunk ON chunk.id = hit.id
{join}
ORDER BY score DESC, hit.rank ASC;
