-- Segments of the full text of the index `chunks` that FTS5 has in one of its tables and not in the other; its own check
-- passes over them, and a later INSERT fails. The number of a segment is in the 16 bits from 37 on of a row's id
-- (https://www.sqlite.org/fts5.html#fts5_data_structures).
SELECT segid FROM main.chunks_fts_idx
WHERE  typeof(segid) <> 'integer' OR segid NOT IN (SELECT id >> 37 & 65535 FROM main.chunks_fts_data WHERE id > 10)
UNION ALL
SELECT id FROM main.chunks_fts_data WHERE id > 10 AND id >> 37 & 65535 NOT IN (SELECT segid FROM main.chunks_fts_idx)
LIMIT  1;
