-- A part of vector_top_k: the :wanted nearest of the chunks whose ids are listed in :ids, a JSON array. The rows of
-- sql/index/vector_distances.sql, where the connection has sqlrag_look_up() of sqlrag's C library.
nearest AS MATERIALIZED (
    SELECT id, {scanned_distance} AS distance FROM main.sqlrag_look_up({scanned}, :wanted, :ids)
)
