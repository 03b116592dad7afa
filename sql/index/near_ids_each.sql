-- The ids of sql/index/near_ids.sql where more chunks of a cell are equally far than vec0 gives: every code is measured.
WITH probed AS MATERIALIZED (
    SELECT rowid AS cell
    FROM   main.chunks_cells
    WHERE  centroid MATCH :vector AND k = min(4096, coalesce(:nprobe, (
        SELECT nprobe * (1 + moving) FROM main.sqlrag_nprobe AS measured JOIN main.sqlrag_ivf USING (index_name)
        WHERE  index_name = 'chunks' AND measured.k >= :depth ORDER BY measured.k LIMIT 1
    ), 4096))
    UNION ALL SELECT 0
)
SELECT   rowid AS id, 0 AS is_tied
FROM     main.chunks_codes AS coded
WHERE    coded.cell IN (SELECT cell FROM probed) {filter}
ORDER BY vec_distance_L1(coded.code, vec_int8(:code)), id
LIMIT    :candidates;
