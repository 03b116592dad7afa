-- What a DuckDB database has, for the catalog: columns in order, with the place in the primary key, 0 outside of it.
SELECT   columns.schema_name AS "schema", columns.table_name AS "table",
         CASE WHEN views.view_name IS NULL THEN 'table' ELSE 'view' END AS kind, column_index AS number,
         column_name AS "column", columns.data_type AS type, NOT is_nullable AS not_null,
         coalesce(list_position(keys.constraint_column_names, column_name), 0) AS key
FROM     duckdb_columns() AS columns
LEFT JOIN duckdb_views() AS views
         ON views.database_name = columns.database_name AND views.schema_name = columns.schema_name
         AND views.view_name = columns.table_name
LEFT JOIN duckdb_constraints() AS keys
         ON keys.database_name = columns.database_name AND keys.schema_name = columns.schema_name
         AND keys.table_name = columns.table_name AND keys.constraint_type = 'PRIMARY KEY'
WHERE    columns.database_name = current_database() AND NOT columns.internal
ORDER BY columns.schema_name, columns.table_name, column_index;
