-- sqlrag_info() for the index `chunks`.
SELECT
    (SELECT count(DISTINCT source_id) FROM chunks)                        AS documents,
    (SELECT count(*) FROM chunks)                                         AS chunks,
    (SELECT coalesce(sum(token_count), 0) FROM chunks)                    AS tokens,
    (SELECT count(*) FROM chunks WHERE token_count > :window)             AS truncated,
    (SELECT count(*) FROM {kept})                                     AS vectors;
