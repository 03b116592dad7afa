-- The vectors of the index `chunks`, and the cells that they are in: an inverted file (IVF) on vec0's partition keys.
-- (Sivic, Zisserman: Video Google, ICCV 2003; Jégou, Douze, Schmid: Product quantization ..., TPAMI 2011, section IV.)

-- Unit vectors: Euclidean distance ranks them as cosine does, and is faster in vec0.
-- cell: 0 while the index is small and searched whole; later the nearest centroid of chunks_cells.
-- 128 vectors lie together: a cell has some hundreds.
CREATE VIRTUAL TABLE chunks_vec USING vec0 (
    cell INTEGER PARTITION KEY, embedding {column}[{dimension}], chunk_size = 128
);

-- vec0 has no index on its partitions: without this one it reads the list of all of them for each cell.
CREATE INDEX chunks_vec_by_cell ON chunks_vec_chunks (partition00, chunk_id);

-- The centroids, unit length; rowid is the cell.
CREATE VIRTUAL TABLE chunks_cells USING vec0 (centroid FLOAT[{dimension}]);
