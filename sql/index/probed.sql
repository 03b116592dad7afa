-- A part of vector_top_k and hybrid_top_k: the cells whose centroids are nearest to the query, :nprobe of them; by
-- default as many as the index has found to hold 0.95 of the :depth nearest chunks (sqlrag_nprobe). While chunks move
-- to new cells the old ones count too. Cell 0 holds what is in none: all of a small index.
probed AS MATERIALIZED (
    SELECT rowid AS cell
    FROM   chunks_cells
    WHERE  centroid MATCH :vector AND k = min(4096, coalesce(:nprobe, (
        SELECT nprobe * (1 + moving) FROM sqlrag_nprobe AS measured JOIN sqlrag_ivf USING (index_name)
        WHERE  index_name = 'chunks' AND measured.k >= :depth ORDER BY measured.k LIMIT 1
    ), 4096))
    UNION ALL SELECT 0
)
