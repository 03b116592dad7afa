-- How many of a run's documents the index has not, and how many there are, each query's counted.
SELECT count(*) FILTER (WHERE document_id NOT IN (
           SELECT document_id FROM temp.evaluation_documents WHERE document_id IS NOT NULL)),
       count(*)
FROM   temp.evaluation_run;
