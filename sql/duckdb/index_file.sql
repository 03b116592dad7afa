-- The index `chunks` in the index file: what DuckDB's own tables do not have. Texts and vectors stay there.
-- sql/index/create_codes.sql and an FTS5 tokenizer take the places of the braces.

-- The chunks that are indexed, which are those with a vector.
CREATE TABLE main.chunks (
    id   INTEGER PRIMARY KEY,
    hash BLOB NOT NULL                    -- MD5 of context and text, to notice a change
);

{codes}

-- Only sqlrag writes this file, and it deletes the codes itself.
DROP TRIGGER main.chunks_vector_after_delete;

-- The words, without the texts (https://www.sqlite.org/fts5.html#contentless_delete_tables).
CREATE VIRTUAL TABLE main.chunks_fts USING fts5 (
    context, text, words, content = '', contentless_delete = 1, tokenize = '{tokenize}'
);
