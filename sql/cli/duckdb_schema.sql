-- `.schema [TABLE]` of the shell: the statements that made the tables, views and indexes.
SELECT   sql
FROM     (SELECT table_name AS name, 1 AS place, sql FROM duckdb_tables() WHERE NOT internal
          UNION ALL SELECT view_name, 1, sql FROM duckdb_views() WHERE NOT internal
          UNION ALL SELECT table_name, 2, sql FROM duckdb_indexes())
WHERE    sql IS NOT NULL AND (CAST(:name AS VARCHAR) IS NULL OR name = :name)
ORDER BY name, place, sql;
