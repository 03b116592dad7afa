-- The tool `read_chunk`: which document a chunk comes from.
SELECT   uri, title, metadata
FROM     documents
WHERE    id = :source_id;
