-- A part of vector_top_k: the :wanted nearest chunks, of all. Of those that are equally far vec0 gives any.
nearest AS MATERIALIZED (
    SELECT rowid AS id, distance
    FROM   main.chunks_vec
    WHERE  embedding MATCH :vector AND k = :wanted {filter}
)
