-- sqlrag_info(): how many scores are kept, and how often they were of use.
SELECT count(*) AS rows, CAST(total(hits) AS INTEGER) AS hits FROM main.sqlrag_scores;
