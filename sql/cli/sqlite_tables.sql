-- `.tables` of the shell. The tables that FTS5 and sqlite-vec keep for themselves are not among them.
SELECT   name, type
FROM     main.pragma_table_list
WHERE    schema = 'main' AND type <> 'shadow' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
ORDER BY name;
