-- How many rows of its table the index `chunks` has not looked at yet, and for how many seconds the first has waited.
SELECT count(DISTINCT source_id) + coalesce(max(source_id IS NULL), 0),
       max(0, julianday('now') - min(queued_at)) * 86400
FROM   main.chunks_queue;
