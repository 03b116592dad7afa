-- Unit vectors, {numbers}: FLOAT, or INT8 where they are kept rounded. Euclidean distance ranks them as cosine does, and is
-- faster in vec0. {together} lie together, 24 kB at 384 dimensions: few enough to look one up by its id, which SQLite reads
-- from the first of them on, enough to go through all.
CREATE VIRTUAL TABLE main.chunks_vec USING vec0 (embedding {numbers}[{dimension}], chunk_size = {together});
