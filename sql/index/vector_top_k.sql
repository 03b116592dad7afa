-- vector_top_k: of the chunks with the nearest codes the :k whose vectors are nearest to :vector, nearest first.
-- {near} is a SELECT of their ids. distance is Euclidean between unit vectors: cosine similarity =
-- 1 - distance * distance / 2; the distance of a damaged vector is NULL.
WITH hit AS MATERIALIZED (
    SELECT   near.id, {distance} AS distance
    FROM     ({near}) AS near
    CROSS JOIN main.{kept} AS kept ON kept.rowid = near.id     -- CROSS: in this order
    ORDER BY distance NULLS LAST, near.id
    LIMIT    :k
)
SELECT   id, distance, row_number() OVER (ORDER BY distance NULLS LAST, id) AS rank
FROM     hit
ORDER BY rank;
