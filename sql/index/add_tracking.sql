-- Schema 2 to 3: how changes of the source are noticed; those of documents are sqlrag's own.
ALTER TABLE main.sqlrag_indexes ADD COLUMN tracking TEXT NOT NULL DEFAULT '';
