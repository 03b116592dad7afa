-- A part of vector_top_k: the :wanted nearest chunks, of those in some cells, where the connection has sqlrag_scan() of
-- sqlrag's C library. It does what MATCH does, several times as fast (extension/scan.h).

-- The cells whose centroids are nearest to the query, as many as in near_ids.sql; 0 is the cell of what is in none.
probed AS MATERIALIZED (
    SELECT id AS cell
    FROM   main.sqlrag_scan('chunks_cells', 'float32 L2', :vector, min(4096, coalesce(:nprobe, (
        SELECT nprobe * (1 + moving) FROM main.sqlrag_nprobe AS measured JOIN main.sqlrag_ivf USING (index_name)
        WHERE  index_name = 'chunks' AND measured.k >= :depth ORDER BY measured.k LIMIT 1
    ), 4096)))
    UNION ALL SELECT 0
),
-- The nearest by their codes; a filter has listed the ids that pass.
candidate AS MATERIALIZED (
    SELECT id
    FROM   main.sqlrag_scan('chunks_codes', 'int8 L1', :code, :candidates, {ids}, (SELECT json_group_array(cell) FROM probed))
),
-- Of these the distances, at the precision that is kept.
nearest AS MATERIALIZED (
    SELECT id, {scanned_distance} AS distance
    FROM   main.sqlrag_look_up({scanned}, :wanted, (SELECT json_group_array(id) FROM candidate))
)
