-- `.tables` of the shell.
SELECT   table_name AS name, lower(table_type) AS type
FROM     information_schema.tables
WHERE    table_catalog = current_database()
ORDER BY name;
