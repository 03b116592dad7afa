-- The tables and views of the database that the quack server has attached.
SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = '{database}' AND NOT internal
UNION ALL
SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = '{database}' AND NOT internal;
