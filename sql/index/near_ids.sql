-- Ids of the :candidates chunks of the index `chunks` with the codes nearest to the query, of those in some cells: in
-- the :nprobe nearest, by default in as many as the index has found to hold 0.95 of the :depth nearest chunks
-- (sqlrag_nprobe). While chunks move to new cells the old ones count too. Cell 0 holds what is in none.
-- And whether others may be as near as the farthest of them: vec0 gives the :each nearest of a cell, and of those that
-- are equally far any. MATERIALIZED keeps the LIMIT out of vec0.
WITH probed AS MATERIALIZED (
    SELECT rowid AS cell
    FROM   main.chunks_cells
    WHERE  centroid MATCH :vector AND k = min(4096, coalesce(:nprobe, (
        SELECT nprobe * (1 + moving) FROM main.sqlrag_nprobe AS measured JOIN main.sqlrag_ivf USING (index_name)
        WHERE  index_name = 'chunks' AND measured.k >= :depth ORDER BY measured.k LIMIT 1
    ), 4096))
    UNION ALL SELECT 0
),
coded AS MATERIALIZED (
    SELECT rowid AS id, distance, cell
    FROM   main.chunks_codes
    WHERE  code MATCH vec_int8(:code) AND k = :each AND cell IN (SELECT cell FROM probed) {filter}
),
candidate AS MATERIALIZED (
    SELECT id, distance FROM coded ORDER BY distance, id LIMIT :candidates
)
SELECT   id, EXISTS (
             SELECT 1 FROM coded GROUP BY cell
             HAVING count(*) >= :each AND max(distance) <= (SELECT max(distance) FROM candidate)
         ) AS is_tied
FROM     candidate
ORDER BY distance, id;
