-- Database.search: the function search() with the document that each chunk comes from.
SELECT   hit.id, hit.source_id, document.uri, document.title, document.metadata,
         chunk.ordinal, chunk.start_char, chunk.end_char, hit.text,
         hit.score, hit.distance, hit.rank_before, hit.rank_after, hit.reranked
FROM     {search}('chunks', :query, :top_k, :top_n, :filter, :budget_ms, :filter_params,
                  :first_stage_weight, :vector_weight) AS hit
JOIN     {main}.chunks AS chunk ON chunk.id = hit.id
LEFT JOIN {main}.documents AS document ON document.id = hit.source_id
ORDER BY hit.rank_after ASC;
