-- A score was taken from the cache: its row becomes the one that was used last.
UPDATE main.sqlrag_scores
SET    hits = hits + 1, used = 1 + (SELECT max(used) FROM main.sqlrag_scores)
WHERE  model = :model AND pair = :pair;
