-- The index `chunks_next`, made beside, takes the place of `chunks`, which is empty by now: all in one transaction.
-- vec0 tables cannot be renamed, so what they hold is copied, by sql/index/switch_float32.sql or switch_int8.sql.
INSERT INTO chunks SELECT * FROM chunks_next ORDER BY id;

{vectors}
