-- Which rows of the source came, changed or went since the index `chunks` looked at them. The part in braces is a
-- SELECT of every row's key and text, {main} the schema of both.
SELECT    coalesce(source.key, shown.source_id)
FROM      ({source}) AS source
FULL JOIN {main}.chunks_rows AS shown ON shown.source_id = source.key
WHERE     coalesce(system.main.md5(source.text), '') IS DISTINCT FROM shown.content_hash
OR        source.key IS NULL;
