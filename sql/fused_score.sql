-- The order after the second stage: the reranker's score with a part of the first stage's, each divided by its range among
-- the candidates of a question, {among}. Where all are equal, that score decides nothing.
{score} / coalesce(nullif(max({score}) OVER ({among}) - min({score}) OVER ({among}), 0), 1)
+ {weight} * {first} / coalesce(nullif(max({first}) OVER ({among}) - min({first}) OVER ({among}), 0), 1)
