-- How sqlrag_shown, the ids and hashes of the index file, differs from the index `chunks`: the ids that it has and should
-- not have, and those that it lacks. A chunk whose context or text is another has a row for each. A chunk without a vector
-- does not belong in the index file. In the braces stands the context, which an index made before schema 4 lacks.
SELECT    shown.id, wanted.id
FROM      (
              SELECT    id, unhex(md5({context} || chr(31) || text)) AS hash
              FROM      chunks
              SEMI JOIN chunks_embedding USING (id)
          ) AS wanted
FULL JOIN sqlrag_shown AS shown ON shown.id = wanted.id AND shown.hash = wanted.hash
WHERE     shown.id IS NULL OR wanted.id IS NULL
ORDER BY  ALL ASC;
