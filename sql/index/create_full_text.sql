-- BM25; {tokenize} is an FTS5 tokenizer. The text itself stays in `chunks` (https://www.sqlite.org/fts5.html#external_content_tables).
CREATE VIRTUAL TABLE main.chunks_fts USING fts5 (
    text, content = 'chunks', content_rowid = 'id', tokenize = '{tokenize}'
);
