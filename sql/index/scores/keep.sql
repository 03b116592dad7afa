-- Keep the score of one pair, as the row that was used last; a damaged one is put right.
INSERT INTO main.sqlrag_scores (model, pair, score) VALUES (:model, :pair, :score)
ON CONFLICT (model, pair) DO UPDATE SET score = excluded.score;
