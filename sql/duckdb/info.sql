-- The counts of sqlrag_info() for the index `chunks`.
SELECT count(DISTINCT source_id), count(*), coalesce(sum(token_count), 0), count(*) FILTER (token_count > $window),
       (SELECT count(*) FROM chunks_embedding)
FROM   chunks;
