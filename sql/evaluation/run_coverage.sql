-- How many documents of a run are not in the index, and how many documents it has; each query's documents count.
SELECT count(*) FILTER (WHERE document_id NOT IN (
           SELECT document_id FROM temp.evaluation_documents WHERE document_id IS NOT NULL)),
       count(*)
FROM   temp.evaluation_run;
