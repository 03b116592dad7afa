-- A part of vector_top_k: the :wanted nearest chunks, of all or of those whose ids are listed. The rows
-- of sql/index/nearest_flat.sql and vector_scan.sql, where the connection has sqlrag_scan().
nearest AS MATERIALIZED (
    SELECT id, {scanned_distance} AS distance
    FROM   main.sqlrag_scan({scanned}, :wanted, {ids})
)
