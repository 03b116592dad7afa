-- BM25; {columns} are those of `chunks` that are searched, {tokenize} is an FTS5 tokenizer. The text itself stays in `chunks` (https://www.sqlite.org/fts5.html#external_content_tables).
CREATE VIRTUAL TABLE main.chunks_fts USING fts5 (
    {columns}, content = 'chunks', content_rowid = 'id', tokenize = '{tokenize}'
);
