-- Schema 3 to 4: whether chunks are embedded with their titles and headings, which an index has from its making on.
ALTER TABLE main.sqlrag_indexes ADD COLUMN context TEXT NOT NULL DEFAULT '';
