-- Schema 1 to 2: the tokenizer of the full text, which was always this one.
ALTER TABLE main.sqlrag_indexes ADD COLUMN tokenizer TEXT NOT NULL DEFAULT 'porter';
