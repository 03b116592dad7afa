-- Schema 2 to 3: how the text of a row is made of its columns; documents have their own.
ALTER TABLE main.sqlrag_indexes ADD COLUMN template TEXT NOT NULL DEFAULT '';
