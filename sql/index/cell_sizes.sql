-- Which places are taken in each block of codes of the index `chunks`, of the cells from :first_cell on: a bit each.
SELECT partition00, validity
FROM   main.chunks_codes_chunks
WHERE  partition00 >= :first_cell;
