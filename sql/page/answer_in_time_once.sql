SELECT   id, text, score
FROM    (SELECT *, row_number() OVER (PARTITION BY text ORDER BY rank_after) AS copy FROM search({arguments})) AS hit
WHERE    copy = 1  -- a passage that several documents have counts once
ORDER BY rank_after
LIMIT    {top_n};
