-- An index named `chunks`: the chunk table, its vectors and its full text.
-- Another name takes the place of the word `chunks`; the type of the source's key, sql/index/create_vectors.sql,
-- sql/index/create_codes.sql and sql/index/create_full_text.sql take those of the braces.

CREATE TABLE main.chunks (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again after a delete
    source_id   {source_type} NOT NULL,   -- documents.id, or the key of a row of the indexed table
    ordinal     INTEGER NOT NULL,         -- 0, 1, 2 ... within the source row
    start_char  INTEGER NOT NULL,         -- substr(<the source's text>, start_char + 1, end_char - start_char) = text
    end_char    INTEGER NOT NULL,
    text        TEXT    NOT NULL,
    token_count INTEGER NOT NULL,         -- in the embedder's tokens; beyond its window it is cut
    context     TEXT    NOT NULL DEFAULT '',   -- title and headings above it, embedded before its text: context || text
    words       TEXT    NOT NULL DEFAULT '',   -- what full text finds besides: "office" for a ligature, pairs of Han
    UNIQUE (source_id, ordinal)
);

{vectors}

{codes}

{full_text}

CREATE TRIGGER main.chunks_after_insert AFTER INSERT ON chunks BEGIN
    INSERT INTO chunks_fts (rowid, context, text, words) VALUES (new.id, new.context, new.text, new.words);
END;

CREATE TRIGGER main.chunks_after_delete AFTER DELETE ON chunks BEGIN
    INSERT INTO chunks_fts (chunks_fts, rowid, context, text, words)
        VALUES ('delete', old.id, old.context, old.text, old.words);
END;

CREATE TRIGGER main.chunks_after_update AFTER UPDATE OF id, context, text, words ON chunks BEGIN
    INSERT INTO chunks_fts (chunks_fts, rowid, context, text, words)
        VALUES ('delete', old.id, old.context, old.text, old.words);
    INSERT INTO chunks_fts (rowid, context, text, words) VALUES (new.id, new.context, new.text, new.words);
END;
