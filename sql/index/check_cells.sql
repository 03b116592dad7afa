-- What must not be in the cells of the index `chunks`, counted: a row `what, count` each.
SELECT 'vectors have no code, so that no search finds them' AS what, count(*) AS count
FROM   main.{kept} WHERE (SELECT ready FROM main.sqlrag_ivf WHERE index_name = 'chunks')
AND    rowid NOT IN (SELECT rowid FROM main.chunks_codes_rowids)
UNION ALL
SELECT 'blocks of codes are in a cell without a centroid, where no search finds them', count(*)
FROM   main.chunks_codes_chunks WHERE partition00 IS NOT 0 AND (typeof(partition00) <> 'integer'
OR     partition00 NOT IN (SELECT rowid FROM main.chunks_cells));
