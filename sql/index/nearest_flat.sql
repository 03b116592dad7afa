-- A part of vector_top_k and hybrid_top_k: the :wanted nearest chunks, of all.
nearest AS MATERIALIZED (
    SELECT rowid AS id, distance
    FROM   main.chunks_vec
    WHERE  embedding MATCH :vector AND k = :wanted {filter}
)
