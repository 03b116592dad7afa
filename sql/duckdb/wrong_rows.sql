-- The source rows of the index `chunks` that have a chunk without a vector, with a vector that is not of unit length,
-- with a text of another length than its offsets say, or that lack one between others.
SELECT DISTINCT source_id
FROM   chunks LEFT JOIN chunks_embedding USING (id)
WHERE  embedding IS NULL
OR     NOT abs(list_sum(list_transform(embedding::FLOAT[], lambda x: x * x)) - 1) < 0.001
OR     length(text) <> end_char - start_char
UNION
SELECT source_id FROM chunks GROUP BY source_id HAVING count(*) <= max(ordinal)
UNION
SELECT source_id FROM chunks GROUP BY source_id, ordinal HAVING count(*) > 1;
