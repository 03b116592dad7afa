-- Schema 1 to 2: the vectors of the index `chunks` get cells. sql/index/create_cells.sql stands in the braces.
CREATE TEMP TABLE sqlrag_moved AS SELECT rowid AS id, embedding FROM chunks_vec;
DROP TABLE chunks_vec;
{cells}
INSERT INTO chunks_vec (rowid, cell, embedding) SELECT id, 0, embedding FROM sqlrag_moved;
DROP TABLE sqlrag_moved;
