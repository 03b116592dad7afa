-- Unit vectors: Euclidean distance ranks them as cosine does, and is faster in vec0. 64 lie together: few enough to look
-- one up by its id, enough to go through all.
CREATE VIRTUAL TABLE chunks_vec USING vec0 (embedding FLOAT[{dimension}], chunk_size = 64);

CREATE TRIGGER chunks_vector_after_delete AFTER DELETE ON chunks BEGIN
    DELETE FROM chunks_vec WHERE rowid = old.id;
END;
