-- The score of one pair.
SELECT pair, score FROM main.sqlrag_scores WHERE model = :model AND pair = :pair;
