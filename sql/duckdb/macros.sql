-- The functions of the contract over the Python functions `_sqlrag_...`, which all connections of an instance share; the
-- token of the connection takes the place of 'session'.
-- Temporary: they belong to the connection, the database file is not changed.

CREATE OR REPLACE TEMP MACRO embed
    (text)        AS _sqlrag_embed('session', text)::FLOAT[{dimension}],
    (text, model) AS _sqlrag_embed('session', text, model);

CREATE OR REPLACE TEMP MACRO embed_document
    (text)        AS _sqlrag_embed_document('session', text)::FLOAT[{dimension}],
    (text, model) AS _sqlrag_embed_document('session', text, model);

-- The transaction tells one statement from the next, for rerank_limit. It comes from a sub-query, because DuckDB 2.0.1
-- pushes a condition on a volatile function below the join, too, and the whole chunk table would be scored: what has the
-- sub-query's value in it stays above. (Were all of it a sub-query, the candidates would come in two batches.)
CREATE OR REPLACE TEMP MACRO rerank_score
    (query, text)        AS _sqlrag_rerank_score('session', query, text, NULL, (SELECT txid_current())),
    (query, text, model) AS _sqlrag_rerank_score('session', query, text, model, (SELECT txid_current()));

CREATE OR REPLACE TEMP MACRO
    vector_top_k(index, query, k, filter := NULL, candidates := NULL, filter_params := NULL, nprobe := NULL) AS TABLE
    SELECT hit.id AS id, hit.distance AS distance, hit.rank AS rank
    FROM   (SELECT unnest(
               _sqlrag_vector_top_k('session', index, query, k, filter, candidates, filter_params, nprobe)
           ) AS hit);

CREATE OR REPLACE TEMP MACRO text_top_k(index, query, k, filter := NULL, filter_params := NULL) AS TABLE
    SELECT hit.id AS id, hit.score AS score, hit.rank AS rank
    FROM   (SELECT unnest(_sqlrag_text_top_k('session', index, query, k, filter, filter_params)) AS hit);

CREATE OR REPLACE TEMP MACRO
    hybrid_top_k(index, query, k, filter := NULL, vector_weight := NULL, filter_params := NULL, candidates := NULL)
    AS TABLE
    SELECT hit.id AS id, hit.score AS score, hit.rank AS rank
    FROM   (SELECT unnest(
               _sqlrag_hybrid_top_k('session', index, query, k, filter, vector_weight, filter_params, candidates)
           ) AS hit);

CREATE OR REPLACE TEMP MACRO
    search(index, query, top_k := NULL, top_n := NULL, filter := NULL, budget_ms := NULL, filter_params := NULL,
           first_stage_weight := NULL, vector_weight := NULL) AS TABLE
    SELECT hit.id AS id, hit.text AS text, hit.score AS score, hit.distance AS distance,
           hit.rank_before AS rank_before, hit.rank_after AS rank_after, hit.source_id::{key_type} AS source_id,
           hit.reranked AS reranked, hit.copies AS copies
    FROM   (SELECT unnest(
               _sqlrag_search('session', index, query, top_k, top_n, filter, budget_ms, filter_params, first_stage_weight,
               vector_weight)
           ) AS hit);

CREATE OR REPLACE TEMP MACRO chunk(index, chunk_id) AS TABLE
    SELECT found.id AS id, found.source_id::{key_type} AS source_id, found.text AS text, found.context AS context
    FROM   (SELECT unnest(_sqlrag_chunk('session', index, chunk_id)) AS found);

CREATE OR REPLACE TEMP MACRO chunk_text(source, max_tokens := NULL, overlap := NULL) AS TABLE
    SELECT chunk.ordinal AS ordinal, chunk.start_char AS start_char, chunk.end_char AS end_char, chunk.text AS text
    FROM   (SELECT unnest(_sqlrag_chunk_text('session', source, max_tokens, overlap)) AS chunk);

CREATE OR REPLACE TEMP MACRO sqlrag_info() AS TABLE
    SELECT unnest(info) FROM (SELECT unnest(_sqlrag_info('session', NULL)) AS info);
