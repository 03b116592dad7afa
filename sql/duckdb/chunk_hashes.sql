-- The chunks of the index `chunks` that have a vector, with ids from $first to $last, and the MD5 of their texts.
SELECT    id, unhex(md5(text))
FROM      (SELECT id, text FROM chunks WHERE id BETWEEN $first AND $last)
SEMI JOIN (SELECT id FROM chunks_embedding WHERE id BETWEEN $first AND $last) USING (id);
