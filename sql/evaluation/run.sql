-- A run as a temporary table. :rows is a JSON array of [query_id, document_id, rank, score].
DROP TABLE IF EXISTS temp.{table};
CREATE TEMP TABLE {table} (
    query_id    TEXT   NOT NULL,
    document_id TEXT   NOT NULL,
    rank        BIGINT NOT NULL,          -- from 1
    score       DOUBLE NOT NULL,
    PRIMARY KEY (query_id, document_id)
);
INSERT INTO temp.{table}
SELECT value ->> 0, value ->> 1, CAST(value ->> 2 AS BIGINT), CAST(value ->> 3 AS DOUBLE) FROM json_each(:rows);
