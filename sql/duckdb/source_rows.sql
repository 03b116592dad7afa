-- Rows of the source as they are now, and the text that the index `chunks` has of them. The part in braces is a
-- SELECT of every row's key and text; $keys are those that are asked for.
SELECT    wanted.key, source.text, source.key IS NOT NULL,
          CASE WHEN source.key IS NOT NULL THEN coalesce(md5(source.text), '') END, shown.content_hash
FROM      (SELECT unnest($keys) AS key) AS wanted
LEFT JOIN ({source}) AS source ON source.key = wanted.key
LEFT JOIN chunks_rows AS shown ON shown.source_id = wanted.key;
