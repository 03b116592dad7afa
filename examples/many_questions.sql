-- Many questions in one statement: a table function takes its query from the row beside it.
-- sqlrag sql python-stdlib.db -f examples/many_questions.sql

WITH asked (question) AS (
    VALUES ('how long does a piece of code take?'),
           ('walk through a folder and everything below it'),
           ('pick some of them at random')
)
SELECT     asked.question, hit.rank_after AS rank, d.title, hit.score
FROM       asked
CROSS JOIN search('chunks', asked.question, 25, 2) AS hit
JOIN       documents AS d ON d.id = hit.source_id
ORDER BY   asked.question, hit.rank_after;
