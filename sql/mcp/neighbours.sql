-- The tool `read_chunk`: a chunk and those beside it in the same source row, in their order.
SELECT   beside.id, beside.source_id, beside.ordinal, beside.start_char, beside.end_char, beside.text
FROM     {main}.chunks AS wanted
JOIN     {main}.chunks AS beside ON beside.source_id = wanted.source_id
         AND beside.ordinal BETWEEN wanted.ordinal - :before AND wanted.ordinal + :after
WHERE    wanted.id = :id
ORDER BY beside.ordinal;
