-- sqlrag_info() for the index `chunks`.
SELECT
    (SELECT count(DISTINCT source_id) FROM main.chunks)                        AS documents,
    (SELECT count(*) FROM main.chunks)                                         AS chunks,
    (SELECT coalesce(sum(token_count), 0) FROM main.chunks)                    AS tokens,
    (SELECT count(*) FROM main.chunks WHERE token_count > :window)             AS truncated,
    (SELECT count(*) FROM main.{kept})                                     AS vectors;
