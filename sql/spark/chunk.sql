-- chunk: one chunk by its id, read from the shard that has it. Use it with LATERAL in place of a join, which reads every
-- text of the index.
CREATE OR REPLACE TEMPORARY FUNCTION chunk(index STRING, id BIGINT)
RETURNS TABLE (id BIGINT, source_id {key_type}, text STRING, context STRING)
RETURN
SELECT found.id, CAST(found.source_id AS {key_type}) AS source_id, found.text, found.context
FROM (
    SELECT shard, chunk.id AS id FROM sqlrag_shards WHERE name = {known} AND chunk.id BETWEEN low AND high
) AS one,
LATERAL sqlrag_shard_chunk(one.shard, one.id) AS found
