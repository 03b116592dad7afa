-- vector_top_k: the :k chunks whose vectors are nearest to :vector, nearest first.
-- distance is Euclidean between unit vectors: cosine similarity = 1 - distance * distance / 2.
-- A filter limits the scan to the chunks that match: they are found first, so k rows come back whenever k match.
WITH {probed},
-- vec0 gives :k rows for each cell; they are cut to :k together. MATERIALIZED keeps the LIMIT out of vec0.
hit AS MATERIALIZED (
    SELECT rowid AS id, {distance} AS distance
    FROM   chunks_vec
    WHERE  embedding MATCH {query} AND k = :k {cells} {filter}
)
SELECT   id, distance, row_number() OVER (ORDER BY distance, id) AS rank
FROM     hit
ORDER BY rank
LIMIT    :k;
