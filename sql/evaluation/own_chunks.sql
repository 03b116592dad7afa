-- For known items each chunk is a document, and the id of the chunk is that of the document.
INSERT INTO temp.evaluation_documents (chunk_id, document_id, token_count)
SELECT id, CAST(id AS TEXT), token_count FROM {main}.chunks;
