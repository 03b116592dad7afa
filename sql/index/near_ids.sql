-- Ids of the :candidates chunks of the index `chunks` with the codes nearest to the query, of those in the :nprobe
-- nearest cells (and in cell 0, of those in none).
-- A filter then looks at these only: one that lets many chunks through finds enough of them.
WITH coded AS MATERIALIZED (
    SELECT rowid AS id, distance
    FROM   main.chunks_codes
    WHERE  code MATCH vec_int8(:code) AND k = :candidates AND cell IN (
        SELECT rowid FROM main.chunks_cells WHERE centroid MATCH :vector AND k = :nprobe UNION ALL SELECT 0
    )
)
SELECT id FROM coded ORDER BY distance, id LIMIT :candidates;
