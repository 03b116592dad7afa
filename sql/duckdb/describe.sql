-- What a schema has under a name ($name, its ASCII letters small): a row for a view, a row for each column of it or of a
-- table, and a row for a primary key. {here} chooses the rows of the schema.
SELECT 'view' AS part, view_name AS name, NULL AS place, NULL AS column_name, NULL AS data_type, NULL AS key
FROM   duckdb_views()
WHERE  {here} AND NOT internal
AND    translate(view_name, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz') COLLATE "binary" = $name
UNION ALL
SELECT 'column', table_name, column_index, column_name, data_type, NULL
FROM   duckdb_columns()
WHERE  {here} AND NOT internal
AND    translate(table_name, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz') COLLATE "binary" = $name
UNION ALL
SELECT 'key', table_name, NULL, NULL, NULL, constraint_column_names
FROM   duckdb_constraints()
WHERE  {here} AND constraint_type = 'PRIMARY KEY'
AND    translate(table_name, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz') COLLATE "binary" = $name;
