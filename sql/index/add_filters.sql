-- Schema 2 to 3: the columns of the source that hits carry along, as JSON.
ALTER TABLE main.sqlrag_indexes ADD COLUMN filters TEXT NOT NULL DEFAULT '[]';
