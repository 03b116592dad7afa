-- Queries as a temporary table. :rows is a JSON array of [query_id, text].
DROP TABLE IF EXISTS temp.{table};
CREATE TEMP TABLE {table} (query_id TEXT PRIMARY KEY, text TEXT NOT NULL);
INSERT INTO temp.{table} SELECT value ->> 0, value ->> 1 FROM json_each(:rows);
