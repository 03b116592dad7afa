-- vector_top_k: the :k chunks whose vectors are nearest to :vector, nearest first.
-- distance is Euclidean between unit vectors: cosine similarity = 1 - distance * distance / 2.
-- A filter limits the scan to the chunks that match: they are found first, so k rows come back whenever k match.
-- In the braces stands sql/index/nearest_flat.sql, or another part that is called so.
WITH {nearest}
SELECT   id, distance, row_number() OVER (ORDER BY distance, id) AS rank
FROM     nearest
ORDER BY rank;
