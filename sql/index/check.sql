-- What must not be in the index `chunks`, counted: a row `what, count` each.
SELECT 'chunks have no vector' AS what, count(*) AS count
FROM   chunks WHERE id NOT IN (SELECT rowid FROM chunks_vec)
UNION ALL
SELECT 'vectors have no chunk', count(*)
FROM   chunks_vec WHERE rowid NOT IN (SELECT id FROM chunks)
UNION ALL
SELECT 'blocks of vectors are in a cell without a centroid, where no search finds them', count(*)
FROM   chunks_vec_chunks WHERE partition00 <> 0 AND partition00 NOT IN (SELECT rowid FROM chunks_cells)
UNION ALL
SELECT 'chunks have a text of another length than their offsets say', count(*)
FROM   chunks WHERE length(CAST(text AS TEXT)) <> end_char - start_char AND instr(text, char(0)) = 0;
