INSERT INTO main.chunks_codes (rowid, cell, code) SELECT rowid, 0, vec_int8(code) FROM main.chunks_next_codes;  -- a sorter would forget the type
