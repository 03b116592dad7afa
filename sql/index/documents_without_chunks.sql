-- The documents of the index `chunks` that have a text and no chunk; one of blanks alone never has any.
SELECT id FROM {main}.documents
WHERE  index_name = 'chunks' AND length(text) > 0 AND id NOT IN (SELECT source_id FROM {main}.chunks);
