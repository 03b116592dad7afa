-- The source rows of the index `chunks` that have a chunk without a vector, or with a text of another length than its
-- offsets say, or that lack one between others.
SELECT source_id FROM main.chunks WHERE id NOT IN (SELECT rowid FROM main.{kept})
UNION
SELECT source_id FROM main.chunks WHERE length(CAST(text AS TEXT)) <> end_char - start_char AND instr(text, char(0)) = 0
OR     typeof(text) <> 'text'
UNION
SELECT source_id FROM main.chunks GROUP BY source_id HAVING count(*) <= max(ordinal);
