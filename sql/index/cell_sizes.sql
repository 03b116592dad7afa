-- How many chunks each cell of the index `chunks` has, from :first_cell on.
SELECT   count(*)
FROM     chunks_codes_rowids AS place
JOIN     chunks_codes_chunks AS block ON block.chunk_id = place.chunk_id
WHERE    block.partition00 >= :first_cell
GROUP BY block.partition00;
