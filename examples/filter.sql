-- A filter comes before the top-k: nothing that matches is lost to candidates that don't.
-- It is an expression over the columns of `documents`; DuckDB wants the parentheses around what ->> takes out.
-- sqlrag sql python-stdlib.db -f examples/filter.sql -p q="pick some of them at random"

SELECT   d.title, hit.score, hit.rank_before, hit.rank_after
FROM     search('chunks', :q, 25, 3, '(metadata ->> ''kind'') = ''function''') AS hit
JOIN     documents AS d ON d.id = hit.source_id
ORDER BY hit.rank_after;
