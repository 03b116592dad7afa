-- The cells of the index `chunks`: an inverted file (IVF) on vec0's partition keys, beside its vectors. Made from them,
-- and again when the index has grown.
-- (Sivic, Zisserman: Video Google, ICCV 2003; Jégou, Douze, Schmid: Product quantization ..., TPAMI 2011, section IV.)

-- A code for each vector, 1 byte a dimension, in the cell of its nearest centroid; 0 for none. Sums of differences of
-- whole numbers (L1) are the fastest distance that vec0 has for them: five times the speed of L2 on a CPU for which
-- it was not compiled. 128 codes lie together: a cell has some hundreds.
CREATE VIRTUAL TABLE main.chunks_codes USING vec0 (
    cell INTEGER PARTITION KEY, code INT8[{dimension}] distance_metric = L1, chunk_size = 128
);

-- vec0 has no index on its partitions: without this one it reads the list of all of them for each cell.
CREATE INDEX main.chunks_codes_by_cell ON chunks_codes_chunks (partition00, chunk_id);

-- The centroids, unit length; rowid is the cell.
CREATE VIRTUAL TABLE main.chunks_cells USING vec0 (centroid FLOAT[{dimension}]);

CREATE TRIGGER main.chunks_code_after_delete AFTER DELETE ON chunks BEGIN
    DELETE FROM chunks_codes WHERE rowid = old.id;
END;
