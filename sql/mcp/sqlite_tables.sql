-- The tool `describe`: tables and views with their columns, in order.
SELECT   list.name AS "table", list.type AS kind, info.name AS "column", info.type AS type
FROM     main.pragma_table_list AS list
JOIN     main.pragma_table_xinfo(list.name, 'main') AS info
WHERE    list.schema = 'main' AND list.type <> 'shadow' AND info.hidden <> 1
ORDER BY list.name, info.cid;
