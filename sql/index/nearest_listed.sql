-- A part of vector_top_k: the :wanted nearest of the chunks whose ids are listed in :ids, a JSON array: of these the
-- :candidates nearest by their codes, each looked up by itself; of those the distances at the precision that is kept.
-- CROSS: in this order.
candidate AS MATERIALIZED (
    SELECT   listed.value AS id
    FROM     main.json_each(:ids) AS listed CROSS JOIN main.chunks_codes AS coded ON coded.rowid = listed.value
    ORDER BY vec_distance_L1(coded.code, vec_int8(:code)), id
    LIMIT    :candidates
),
nearest AS MATERIALIZED (
    SELECT   candidate.id, {distance} AS distance
    FROM     candidate CROSS JOIN main.{kept} AS kept ON kept.rowid = candidate.id
    ORDER BY distance, candidate.id
    LIMIT    :wanted
)
