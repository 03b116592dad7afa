-- What must not be in the index `chunks`, counted: a row `what, count` each.
SELECT 'chunks have no vector' AS what, count(*) AS count
FROM   chunks WHERE id NOT IN (SELECT rowid FROM {kept})
UNION ALL
SELECT 'vectors have no chunk', count(*)
FROM   {kept} WHERE rowid NOT IN (SELECT id FROM chunks)
UNION ALL
SELECT 'vectors have no code, so that no search finds them', count(*)
FROM   {kept} WHERE (SELECT ready FROM sqlrag_ivf WHERE index_name = 'chunks')
AND    rowid NOT IN (SELECT rowid FROM chunks_codes_rowids)
UNION ALL
SELECT 'blocks of codes are in a cell without a centroid, where no search finds them', count(*)
FROM   chunks_codes_chunks WHERE partition00 <> 0 AND partition00 NOT IN (SELECT rowid FROM chunks_cells)
UNION ALL
SELECT 'chunks have a text of another length than their offsets say', count(*)
FROM   chunks WHERE length(CAST(text AS TEXT)) <> end_char - start_char AND instr(text, char(0)) = 0;
