-- An index named `chunks` in DuckDB: the chunk table and the vectors.
-- Another name takes the place of the word `chunks`; {dimension} is the model's.

CREATE SEQUENCE IF NOT EXISTS chunks_ids;

CREATE TABLE chunks (
    id          BIGINT  PRIMARY KEY,      -- never used again after a delete
    source_id   BIGINT  NOT NULL,         -- documents.id
    ordinal     BIGINT  NOT NULL,         -- 0, 1, 2 ... within the document
    start_char  BIGINT  NOT NULL,         -- substr(documents.text, start_char + 1, end_char - start_char) = text
    end_char    BIGINT  NOT NULL,
    text        VARCHAR NOT NULL,
    token_count BIGINT  NOT NULL          -- in the embedder's tokens; beyond its window it is cut
);

CREATE TABLE chunks_embedding (
    id        BIGINT PRIMARY KEY,         -- chunks.id
    embedding FLOAT[{dimension}] NOT NULL -- unit length
);
