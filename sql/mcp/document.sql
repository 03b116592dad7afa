-- The tool `read_chunk`: which document a chunk comes from.
SELECT   uri, title, metadata
FROM     {main}.documents
WHERE    id = :source_id;
