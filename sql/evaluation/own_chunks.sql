-- For known items: each chunk is a document of its own, and its id is the document's.
INSERT INTO temp.evaluation_documents (chunk_id, document_id, token_count)
SELECT id, CAST(id AS TEXT), token_count FROM {main}.chunks;
