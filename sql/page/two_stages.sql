-- The page: what search.sql gives, with any first stage and any reranker.
WITH scored AS (
    SELECT   hit.id, chunk.source_id, {document}, chunk.ordinal, chunk.start_char, chunk.end_char, chunk.text,
             rerank_score(:question, {passage}, :reranker) AS score, NULL AS distance, hit.rank AS rank_before,
             {first} AS first
    FROM     {function}(:index, :question, :top_k, :filter) AS hit
    JOIN     {main}.chunks AS chunk ON chunk.id = hit.id
    {join}
)
SELECT   id, source_id, uri, title, metadata, ordinal, start_char, end_char, text, score, distance, rank_before
FROM     scored
ORDER BY {fused} DESC, rank_before ASC;
