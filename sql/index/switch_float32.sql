INSERT INTO chunks_vec (rowid, embedding) SELECT rowid, embedding FROM chunks_next_vec ORDER BY rowid;
