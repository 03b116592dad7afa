-- The chunks of the index `chunks` that have a vector, with ids from $first to $last, and the MD5 of their contexts and
-- texts; in the braces stands the context, which an index made before schema 4 lacks.
SELECT    id, unhex(md5({context} || chr(31) || text))
FROM      (SELECT * FROM chunks WHERE id BETWEEN $first AND $last)
SEMI JOIN (SELECT id FROM chunks_embedding WHERE id BETWEEN $first AND $last) USING (id);
