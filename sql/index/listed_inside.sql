-- Of the chunks whose ids are listed in :ids, a JSON array, those in the :nprobe nearest cells (and in cell 0, of those
-- in none): how many, and a JSON array of their ids.
-- No MATCH on the codes: vec0 would read the list again for each cell. Its own tables say in which block of which cell a
-- code lies. CROSS: in this order.
WITH block AS MATERIALIZED (
    SELECT chunk_id
    FROM   main.chunks_codes_chunks
    WHERE  partition00 IN (
        SELECT rowid FROM main.chunks_cells WHERE centroid MATCH :vector AND k = :nprobe UNION ALL SELECT 0
    )
)
SELECT count(*), json_group_array(wanted.value)
FROM   main.json_each(:ids) AS wanted CROSS JOIN main.chunks_codes_rowids AS place ON place.rowid = wanted.value
WHERE  place.chunk_id IN (SELECT chunk_id FROM block);
