-- What the index `chunks` over a table of the user's own keeps besides chunks and vectors: which text of each row it has.
CREATE TABLE {main}.chunks_rows (
    source_id    {source_type} NOT NULL,
    content_hash VARCHAR NOT NULL          -- MD5 of the text, '' of a row without text
);
