-- What fits into a prompt: passages, best first, until their tokens reach the budget.
-- `token_count` is stored with each chunk; token_count('…') counts any other text.
-- `sqlrag context` does this too, merges neighbouring chunks, leaves repetitions out and numbers the passages.
-- sqlrag sql python-stdlib.db -f examples/context_budget.sql -p q="how do I send an e-mail?" -p budget=400

WITH ranked AS (
    SELECT d.title, c.text, c.token_count, hit.score,
           sum(c.token_count) OVER (ORDER BY hit.rank_after) AS tokens_so_far
    FROM   search('chunks', :q, 25, 25) AS hit
    JOIN   chunks AS c ON c.id = hit.id
    JOIN   documents AS d ON d.id = hit.source_id
)
SELECT   title, score, token_count, tokens_so_far, text
FROM     ranked
WHERE    tokens_so_far <= :budget
ORDER BY tokens_so_far;
