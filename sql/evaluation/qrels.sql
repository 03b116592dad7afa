-- Judgements as a temporary table. :rows is a JSON array of [query_id, document_id, relevance].
DROP TABLE IF EXISTS temp.{table};
CREATE TEMP TABLE {table} (
    query_id    TEXT   NOT NULL,
    document_id TEXT   NOT NULL,
    relevance   BIGINT NOT NULL,          -- the grade, 0 for not relevant
    PRIMARY KEY (query_id, document_id)
);
INSERT INTO temp.{table} SELECT value ->> 0, value ->> 1, CAST(value ->> 2 AS BIGINT) FROM json_each(:rows);
