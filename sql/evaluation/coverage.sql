-- How many documents were judged, and how many of them the index has.
SELECT count(*), count(*) FILTER (WHERE document_id IN (SELECT document_id FROM temp.evaluation_documents))
FROM   (SELECT DISTINCT document_id FROM temp.evaluation_qrels) AS judged;
