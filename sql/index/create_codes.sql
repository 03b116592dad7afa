-- A bit for each number of each vector of the index `chunks`, in blocks: what a search reads in one pass
-- (sqlrag/store/codes/quantization.py says how a code is made).
CREATE TABLE main.chunks_codes (
    first_id INTEGER PRIMARY KEY,         -- the lowest id in the block; blocks are in the order of their ids
    stamp    INTEGER NOT NULL,            -- random, another each time that the block is written
    ids      BLOB    NOT NULL,            -- chunks.id, 8 bytes each, ascending; little-endian, as all that follows
    factors  BLOB    NOT NULL,            -- float32: what makes an estimate of the cosine out of a comparison
    codes    BLOB    NOT NULL             -- 64 bits a word, as many words as the dimension takes
);

-- The chunks that somebody has deleted with a DELETE of his own, and whose codes are still there: a search leaves them out,
-- and the next write of sqlrag's removes them.
CREATE TABLE main.chunks_gone (id INTEGER PRIMARY KEY);

CREATE TRIGGER main.chunks_vector_after_delete AFTER DELETE ON chunks BEGIN
    DELETE FROM chunks_vec WHERE rowid = old.id;
    INSERT OR IGNORE INTO chunks_gone (id) VALUES (old.id);
END;
