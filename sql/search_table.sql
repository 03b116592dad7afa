-- Database.search for an index over a table of the user's own: the function search() with the row of each chunk.
SELECT   hit.id, chunk.source_id, NULL AS uri, NULL AS title, {metadata} AS metadata,
         chunk.ordinal, chunk.start_char, chunk.end_char, hit.text,
         hit.score, hit.distance, hit.rank_before, hit.rank_after, hit.reranked
FROM     {search}('chunks', :query, :top_k, :top_n, :filter, :budget_ms, :filter_params,
                  :first_stage_weight, :vector_weight) AS hit
JOIN     {main}.chunks AS chunk ON chunk.id = hit.id
LEFT JOIN {table} AS source ON {is_source}
ORDER BY hit.rank_after ASC;
