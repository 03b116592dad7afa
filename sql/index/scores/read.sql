-- The score of one pair.
SELECT pair, score FROM sqlrag_scores WHERE model = :model AND pair = :pair;
