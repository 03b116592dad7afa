-- A row if the index file does not have the words of the same chunks of the index `chunks` as it has chunks.
SELECT 1 FROM (SELECT id FROM main.chunks EXCEPT SELECT id FROM main.chunks_fts_docsize)
UNION ALL
SELECT 1 FROM (SELECT id FROM main.chunks_fts_docsize EXCEPT SELECT id FROM main.chunks)
LIMIT  1;
