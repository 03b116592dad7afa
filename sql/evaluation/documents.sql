-- The id of the document behind each chunk: {document_id} is an expression over the columns of {source_table}.
INSERT INTO temp.evaluation_documents (chunk_id, document_id, token_count)
SELECT chunk.id, source.document_id, chunk.token_count
FROM   {main}.chunks AS chunk
JOIN   (SELECT {source_key} AS id, CAST({document_id} AS TEXT) AS document_id FROM {main}.{source_table}) AS source
       ON source.id = chunk.source_id;
