-- What must not be in the index `chunks`, counted: a row `what, count` each. {items} is the word for its rows.
SELECT '{items} have no vector' AS what, count(*) AS count
FROM   main.chunks WHERE id NOT IN (SELECT rowid FROM main.{kept})
UNION ALL
SELECT 'vectors have no chunk', count(*)
FROM   main.{kept} WHERE rowid NOT IN (SELECT id FROM main.chunks)
UNION ALL
SELECT '{items} have a text of another length than their offsets say', count(*)
FROM   main.chunks WHERE length(CAST(text AS TEXT)) <> end_char - start_char AND instr(text, char(0)) = 0
OR     typeof(text) <> 'text';
