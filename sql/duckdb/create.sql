-- An index named `chunks` in DuckDB: the chunk table and the vectors.
-- Another name takes the place of the word `chunks`; {dimension} is the model's,
-- {main} is where, {source_type} that of the source's key, {first_id} the first id that was never used.

CREATE SEQUENCE IF NOT EXISTS {main}.chunks_ids START WITH {first_id};

CREATE TABLE {main}.chunks (
    id          BIGINT  PRIMARY KEY,      -- never used again after a delete
    source_id   {source_type} NOT NULL,   -- documents.id, or the key of a row of the indexed table
    ordinal     BIGINT  NOT NULL,         -- 0, 1, 2 ... within the source row
    start_char  BIGINT  NOT NULL,         -- substr(<the source's text>, start_char + 1, end_char - start_char) = text
    end_char    BIGINT  NOT NULL,
    text        VARCHAR NOT NULL,
    token_count BIGINT  NOT NULL,         -- in the embedder's tokens; beyond its window it is cut
    context     VARCHAR NOT NULL DEFAULT ''  -- title and headings above it, embedded before its text: context || text
);

CREATE TABLE {main}.chunks_embedding (
    id        BIGINT PRIMARY KEY,         -- chunks.id
    embedding FLOAT[{dimension}] NOT NULL -- unit length
);
