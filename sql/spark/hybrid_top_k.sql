-- hybrid_top_k: reciprocal rank fusion of the two global lists, as sql/index/hybrid_top_k.sql has it for one machine.
CREATE OR REPLACE TEMPORARY FUNCTION hybrid_top_k(
    index STRING, query STRING, k INT, filter STRING DEFAULT NULL, vector_weight DOUBLE DEFAULT NULL,
    filter_params STRING DEFAULT NULL
)
RETURNS TABLE (id BIGINT, score DOUBLE, rank INT)
RETURN
SELECT id, score, rank
FROM (
    SELECT id, score, row_number() OVER (ORDER BY score DESC, best, id) AS rank
    FROM (
        SELECT   id, sum(weight / (60 + rank)) AS score, min(rank) AS best
        FROM (
            SELECT near.id, near.rank, 2 * coalesce(hybrid_top_k.vector_weight, 0.5D) AS weight
            FROM   vector_top_k(
                hybrid_top_k.index, hybrid_top_k.query, greatest(hybrid_top_k.k, 100), hybrid_top_k.filter, NULL,
                hybrid_top_k.filter_params
            ) AS near
            UNION ALL
            SELECT worded.id, worded.rank, 2 * (1 - coalesce(hybrid_top_k.vector_weight, 0.5D))
            FROM   text_top_k(
                hybrid_top_k.index, hybrid_top_k.query, greatest(hybrid_top_k.k, 100), hybrid_top_k.filter,
                hybrid_top_k.filter_params
            ) AS worded
        )
        WHERE    weight > 0
        GROUP BY id
    )
)
WHERE rank <= {k}
