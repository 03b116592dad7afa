-- text_top_k over all shards, in two passes: how many rows of all shards each word is in; then each shard's k best with
-- these numbers, of which the k best are kept. So the scores are those of a single index.
CREATE OR REPLACE TEMPORARY FUNCTION text_top_k(
    index STRING, query STRING, k INT, filter STRING DEFAULT NULL, filter_params STRING DEFAULT NULL
)
RETURNS TABLE (id BIGINT, score DOUBLE, rank INT)
RETURN
SELECT id, score, rank
FROM (
    SELECT id, score, row_number() OVER (ORDER BY score DESC, id) AS rank
    FROM (
        SELECT hit.id, hit.score
        FROM (
            SELECT shards.shard, counted.statistics, text_top_k.query AS query, text_top_k.k AS k,
                   text_top_k.filter AS filter, text_top_k.filter_params AS filter_params
            FROM   sqlrag_shards AS shards
            CROSS JOIN (
                SELECT to_json(map_from_entries(collect_list(struct(CAST(term AS STRING), found)))) AS statistics
                FROM (
                    SELECT count.term, sum(count.found) AS found
                    FROM   (
                        SELECT shard, text_top_k.query AS query FROM sqlrag_shards WHERE name = {known}
                    ) AS one,
                    LATERAL sqlrag_shard_counts(one.shard, one.query) AS count
                    GROUP BY count.term
                )
            ) AS counted
            WHERE  shards.name = {known}
        ) AS one,
        LATERAL sqlrag_shard_text(one.shard, one.statistics, one.query, one.k, one.filter, one.filter_params) AS hit
    )
)
WHERE rank <= {k}
