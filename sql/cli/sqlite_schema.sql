-- `.schema [TABLE]` of the shell: the statements that made the tables, views, indexes and triggers.
SELECT   sql
FROM     main.sqlite_schema
WHERE    sql IS NOT NULL AND (:name IS NULL OR tbl_name = :name)
ORDER BY tbl_name, type <> 'table', name;
