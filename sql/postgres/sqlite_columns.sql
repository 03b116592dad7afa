-- What a SQLite database has, for the catalog: columns in order, with the place in the primary key, 0 outside of it.
SELECT   'main' AS "schema", list.name AS "table", list.type AS kind, info.cid + 1 AS number, info.name AS "column",
         info.type AS type, info."notnull" AS not_null, info.pk AS key
FROM     main.pragma_table_list AS list
JOIN     main.pragma_table_xinfo(list.name, 'main') AS info
WHERE    list.schema = 'main' AND list.type <> 'shadow' AND info.hidden <> 1 AND list.name NOT LIKE 'sqlite\_%' ESCAPE '\'
ORDER BY list.name, info.cid;
