-- What differs between any two states of the index `chunks`, whether sqlrag has changed its tables or somebody by hand.
-- Counts and sums of narrow columns: texts are not read.
SELECT version,
       (SELECT [count(*), max(id), sum(id), sum(hash(source_id)), sum(end_char)]::VARCHAR FROM chunks),
       (SELECT [count(*), sum(id)]::VARCHAR FROM chunks_embedding)
FROM   sqlrag_indexes
WHERE  name = 'chunks';
