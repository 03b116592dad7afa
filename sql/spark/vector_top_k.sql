-- vector_top_k over all shards: each gives its k nearest, of which the k nearest are kept.
-- {known} is the name of the index, checked; `sqlrag_shards` is the view of the shards of all registered indexes.
CREATE OR REPLACE TEMPORARY FUNCTION vector_top_k(
    index STRING, query VARIANT, k INT, filter STRING DEFAULT NULL, candidates INT DEFAULT NULL,
    filter_params STRING DEFAULT NULL, nprobe INT DEFAULT NULL
)
RETURNS TABLE (id BIGINT, distance DOUBLE, rank INT)
RETURN
SELECT id, distance, rank
FROM (
    SELECT id, distance, row_number() OVER (ORDER BY distance, id) AS rank
    FROM (
        SELECT hit.id, hit.distance
        FROM (
            SELECT shard, to_json(vector_top_k.query) AS query, vector_top_k.k AS k, vector_top_k.filter AS filter,
                   vector_top_k.candidates AS candidates, vector_top_k.filter_params AS filter_params,
                   vector_top_k.nprobe AS nprobe
            FROM   sqlrag_shards
            WHERE  name = {known}
        ) AS one,
        LATERAL sqlrag_shard_vector(
            one.shard, one.query, one.k, one.filter, one.candidates, one.filter_params, one.nprobe
        ) AS hit
    )
)
WHERE rank <= {k}
