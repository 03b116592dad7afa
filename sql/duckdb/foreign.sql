-- Macros of the file that have the name of a function of DuckDB's own, in whose place they would run; by their full
-- name, so that a macro cannot hide itself.
SELECT DISTINCT own.function_name
FROM   system.main.duckdb_functions() AS own
JOIN   system.main.duckdb_functions() AS builtin ON system.main.lower(builtin.function_name) = system.main.lower(own.function_name)
WHERE  NOT own.internal AND own.function_type IN ('macro', 'table_macro') AND own.database_name <> 'temp'
AND    builtin.internal AND builtin.database_name = 'system'
ORDER  BY own.function_name;
