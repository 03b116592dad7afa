-- What must not be in the index `chunks`, counted: a row `what, count` each. {items} is the word for its rows.
SELECT '{items} have no vector' AS what, count(*) AS count
FROM   chunks WHERE id NOT IN (SELECT rowid FROM {kept})
UNION ALL
SELECT 'vectors have no chunk', count(*)
FROM   {kept} WHERE rowid NOT IN (SELECT id FROM chunks)
UNION ALL
SELECT '{items} have a text of another length than their offsets say', count(*)
FROM   chunks WHERE length(CAST(text AS TEXT)) <> end_char - start_char AND instr(text, char(0)) = 0
OR     typeof(text) <> 'text';
