-- What sqlrag keeps in a DuckDB database: the truth. The index file beside it is made from these tables.
-- {main} is that of the database file.

-- One row a fact about the whole database: schema_version, embedder (the database's default model).
CREATE TABLE IF NOT EXISTS {main}.sqlrag_meta (
    key   VARCHAR PRIMARY KEY,
    value VARCHAR NOT NULL
);

-- One row an index; the columns are explained in sql/index/schema.sql.
CREATE TABLE IF NOT EXISTS {main}.sqlrag_indexes (
    name            VARCHAR PRIMARY KEY,
    source_table    VARCHAR NOT NULL,
    source_key      VARCHAR NOT NULL,
    embedder        VARCHAR NOT NULL,
    embedder_hash   VARCHAR NOT NULL,
    dimension       INTEGER NOT NULL,
    query_prompt    VARCHAR NOT NULL,
    document_prompt VARCHAR NOT NULL,
    "window"        INTEGER NOT NULL,
    max_tokens      INTEGER NOT NULL,
    overlap         INTEGER NOT NULL,
    version         BIGINT  NOT NULL,     -- goes up with each change that sqlrag makes to the index's tables
    tokenizer       VARCHAR NOT NULL DEFAULT 'porter',
    vectors         VARCHAR NOT NULL DEFAULT 'float32',
    template        VARCHAR NOT NULL DEFAULT '',
    filters         VARCHAR NOT NULL DEFAULT '[]',
    tracking        VARCHAR NOT NULL DEFAULT '',
    context         VARCHAR NOT NULL DEFAULT ''
);

-- Schema 1 to 2.
ALTER TABLE sqlrag_indexes ADD COLUMN IF NOT EXISTS tokenizer VARCHAR DEFAULT 'porter';
ALTER TABLE sqlrag_indexes ADD COLUMN IF NOT EXISTS vectors VARCHAR DEFAULT 'float32';

-- Schema 2 to 3.
ALTER TABLE sqlrag_indexes ADD COLUMN IF NOT EXISTS template VARCHAR DEFAULT '';
ALTER TABLE sqlrag_indexes ADD COLUMN IF NOT EXISTS filters VARCHAR DEFAULT '[]';
ALTER TABLE sqlrag_indexes ADD COLUMN IF NOT EXISTS tracking VARCHAR DEFAULT '';

-- Schema 3 to 4.
ALTER TABLE sqlrag_indexes ADD COLUMN IF NOT EXISTS context VARCHAR DEFAULT '';

-- The documents that were ingested, as in sql/index/documents.sql.
CREATE SEQUENCE IF NOT EXISTS {main}.documents_ids;
CREATE TABLE IF NOT EXISTS {main}.documents (
    id           BIGINT PRIMARY KEY,
    index_name   VARCHAR NOT NULL,
    uri          VARCHAR NOT NULL,
    title        VARCHAR,
    metadata     JSON    NOT NULL,
    content_hash VARCHAR NOT NULL,
    text         VARCHAR NOT NULL
);
