-- The rows of sql/index/near_ids.sql, where the connection has sqlrag_scan(); with :ids, a JSON array, of these chunks
-- only. And how many chunks were looked at.
WITH probed AS MATERIALIZED (
    SELECT id AS cell FROM main.sqlrag_scan('chunks_cells', 'float32 L2', :vector, :nprobe) UNION ALL SELECT 0
)
SELECT id, measured
FROM   main.sqlrag_scan('chunks_codes', 'int8 L1', :code, :candidates, :ids, (SELECT json_group_array(cell) FROM probed));
