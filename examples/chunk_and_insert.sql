-- The chunker as SQL: long texts become rows of a table of your own, each with the place where it stands.
-- sqlrag sql python-stdlib.db -f examples/chunk_and_insert.sql -p q="can the output be pretty-printed?"

CREATE TEMP TABLE passage (document_id INTEGER, start_char INTEGER, end_char INTEGER, text TEXT);

INSERT INTO passage
SELECT     d.id, piece.start_char, piece.end_char, piece.text
FROM       documents AS d
CROSS JOIN chunk_text(d.text, 60, 10) AS piece             -- up to 60 tokens, up to 10 of them shared with the one before
WHERE      d.title IN ('json.dump', 'json.dumps');

SELECT   d.title, p.start_char, p.end_char, p.text, rerank_score(:q, p.text) AS score
FROM     passage AS p
JOIN     documents AS d ON d.id = p.document_id
ORDER BY score DESC, d.title
LIMIT    3;
