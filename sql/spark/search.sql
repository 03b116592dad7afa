-- search over all shards: the global lists of vectors and words are fused as in hybrid_top_k, each candidate's text is read
-- from its shard, and one task reranks them. The corpus is not joined.
-- Of an index of documents {copies} times as many candidates are gathered, in case that copies of a passage fill the others:
-- `narrow` is the score of hybrid_top_k for top_k chunks, `wide` for so many.
CREATE OR REPLACE TEMPORARY FUNCTION search(
    index STRING, query STRING, top_k INT DEFAULT NULL, top_n INT DEFAULT NULL, filter STRING DEFAULT NULL,
    budget_ms DOUBLE DEFAULT NULL, filter_params STRING DEFAULT NULL, first_stage_weight DOUBLE DEFAULT NULL
)
RETURNS TABLE (
    id BIGINT, text STRING, score FLOAT, distance DOUBLE, rank_before INT, rank_after INT, source_id {key_type},
    reranked INT, copies STRING
)
RETURN
SELECT hit.id, hit.text, hit.score, hit.distance, hit.rank_before, hit.rank_after,
       CAST(hit.source_id AS {key_type}) AS source_id, hit.reranked, hit.copies
FROM (
    SELECT collect_list(
               struct(one.id, one.narrow, one.narrow_rank, one.wide, one.wide_rank, found.*)
           ) AS candidates,
           any_value(one.asked) AS asked
    FROM (
        SELECT shards.shard, ranked.*,
               struct(search.query AS query, search.top_k AS top_k, search.top_n AS top_n,
                      search.budget_ms AS budget_ms, search.first_stage_weight AS weight) AS asked
        FROM (
            SELECT *, row_number() OVER (ORDER BY narrow DESC NULLS LAST, best, id) AS narrow_rank,
                   row_number() OVER (ORDER BY wide DESC, best, id) AS wide_rank
            FROM (
                SELECT   id, min(rank) AS best, sum(wide) AS wide, sum(narrow) AS narrow
                FROM (
                    SELECT near.id, near.rank, 1D / (60 + near.rank) AS wide,
                           CASE WHEN near.rank <= greatest({top_k}, 100) THEN 1D / (60 + near.rank) END AS narrow
                    FROM   vector_top_k(
                        search.index, search.query, greatest({copies} * {top_k}, 100), search.filter, NULL,
                        search.filter_params
                    ) AS near
                    UNION ALL
                    SELECT worded.id, worded.rank, 1D / (60 + worded.rank),
                           CASE WHEN worded.rank <= greatest({top_k}, 100) THEN 1D / (60 + worded.rank) END
                    FROM   text_top_k(
                        search.index, search.query, greatest({copies} * {top_k}, 100), search.filter,
                        search.filter_params
                    ) AS worded
                )
                GROUP BY id
            )
        ) AS ranked
        JOIN  sqlrag_shards AS shards ON ranked.id BETWEEN shards.low AND shards.high
        WHERE shards.name = {known}
          AND (ranked.narrow_rank <= {top_k} OR ranked.wide_rank <= {copies} * {top_k})
    ) AS one,
    LATERAL sqlrag_shard_candidate(one.shard, one.id, one.asked.query) AS found
) AS gathered,
LATERAL sqlrag_second_stage(
    gathered.candidates, gathered.asked.query, gathered.asked.top_k, gathered.asked.top_n, gathered.asked.budget_ms,
    gathered.asked.weight
) AS hit
