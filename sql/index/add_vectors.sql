-- Schema 1 to 2: how vectors are kept, which was always so.
ALTER TABLE main.sqlrag_indexes ADD COLUMN vectors TEXT NOT NULL DEFAULT 'float32';
