-- What a file has under the names of sqlrag's own tables (:names, a JSON array), and the triggers on them: type, name,
-- table, definition, and whether it is a table that stores what it holds: not virtual, no column that is computed.
SELECT type, name, tbl_name, sql,
       CASE WHEN type = 'table' AND rootpage THEN
           NOT EXISTS (SELECT 1 FROM main.pragma_table_xinfo(own.name, 'main') WHERE hidden > 1)
       ELSE 0 END
FROM   main.sqlite_schema AS own
WHERE  type IN ('table', 'view', 'trigger')
AND    lower(CASE type WHEN 'trigger' THEN tbl_name ELSE name END) IN (SELECT lower(value) FROM main.json_each(:names));
