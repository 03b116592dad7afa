-- Let the rows go that were used longest ago, so that :rows are left.
DELETE FROM main.sqlrag_scores
WHERE  used IN (
    SELECT used FROM main.sqlrag_scores ORDER BY used LIMIT max(0, (SELECT count(*) FROM main.sqlrag_scores) - :rows)
);
