-- The tool `describe`: tables and views with their columns, in order.
SELECT   tables.table_name AS "table", CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS kind,
         column_name AS "column", data_type AS type
FROM     information_schema.tables AS tables
JOIN     information_schema.columns AS columns
         ON columns.table_catalog = tables.table_catalog AND columns.table_schema = tables.table_schema
         AND columns.table_name = tables.table_name
WHERE    tables.table_catalog = current_database() AND tables.table_schema = current_schema()
ORDER BY tables.table_name, ordinal_position;
