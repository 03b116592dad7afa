-- A part of vector_top_k and hybrid_top_k: the :wanted nearest chunks, of those in some cells.

-- The cells whose centroids are nearest to the query, :nprobe of them; by default as many as the index has found to
-- hold 0.95 of the :depth nearest chunks (sqlrag_nprobe). While chunks move to new cells the old ones count too.
-- Cell 0 holds what is in none.
probed AS MATERIALIZED (
    SELECT rowid AS cell
    FROM   main.chunks_cells
    WHERE  centroid MATCH :vector AND k = min(4096, coalesce(:nprobe, (
        SELECT nprobe * (1 + moving) FROM main.sqlrag_nprobe AS measured JOIN main.sqlrag_ivf USING (index_name)
        WHERE  index_name = 'chunks' AND measured.k >= :depth ORDER BY measured.k LIMIT 1
    ), 4096))
    UNION ALL SELECT 0
),
-- The nearest by their codes; vec0 gives :candidates of each cell. MATERIALIZED keeps the LIMIT out of vec0.
coded AS MATERIALIZED (
    SELECT rowid AS id, distance
    FROM   main.chunks_codes
    WHERE  code MATCH vec_int8(:code) AND k = :candidates AND cell IN (SELECT cell FROM probed) {filter}
),
candidate AS MATERIALIZED (
    SELECT id FROM coded ORDER BY distance, id LIMIT :candidates
),
-- Of these the distances, at the precision that is kept. CROSS: in this order.
nearest AS MATERIALIZED (
    SELECT   candidate.id, {distance} AS distance
    FROM     candidate CROSS JOIN main.{kept} AS kept ON kept.rowid = candidate.id
    ORDER BY distance, candidate.id
    LIMIT    :wanted
)
