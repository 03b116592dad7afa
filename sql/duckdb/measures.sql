-- The measures of a ranking against judgements. DuckDB has no aggregates in Python: list() gathers the documents of a
-- group, and the Python function `_sqlrag_measure` makes one value of them. Both columns go into one list, so that they
-- cannot lose each other, whatever the order of the rows.

CREATE OR REPLACE TEMP MACRO ndcg
    (rank, relevance)    AS _sqlrag_measure('session', 'ndcg', list({'rank': rank, 'relevance': relevance})),
    (rank, relevance, k) AS _sqlrag_measure('session', 'ndcg', list({'rank': rank, 'relevance': relevance}), k);

CREATE OR REPLACE TEMP MACRO recall_at_k
    (rank, relevance, k) AS
        _sqlrag_measure('session', 'recall_at_k', list({'rank': rank, 'relevance': relevance}), k),
    (rank, relevance, k, min_relevance) AS
        _sqlrag_measure('session', 'recall_at_k', list({'rank': rank, 'relevance': relevance}), k, min_relevance);

CREATE OR REPLACE TEMP MACRO precision_at_k
    (rank, relevance, k) AS
        _sqlrag_measure('session', 'precision_at_k', list({'rank': rank, 'relevance': relevance}), k),
    (rank, relevance, k, min_relevance) AS
        _sqlrag_measure('session', 'precision_at_k', list({'rank': rank, 'relevance': relevance}), k, min_relevance);

CREATE OR REPLACE TEMP MACRO mrr
    (rank, relevance) AS
        _sqlrag_measure('session', 'mrr', list({'rank': rank, 'relevance': relevance})),
    (rank, relevance, k) AS
        _sqlrag_measure('session', 'mrr', list({'rank': rank, 'relevance': relevance}), k),
    (rank, relevance, k, min_relevance) AS
        _sqlrag_measure('session', 'mrr', list({'rank': rank, 'relevance': relevance}), k, min_relevance);

CREATE OR REPLACE TEMP MACRO average_precision
    (rank, relevance) AS
        _sqlrag_measure('session', 'average_precision', list({'rank': rank, 'relevance': relevance})),
    (rank, relevance, k) AS
        _sqlrag_measure('session', 'average_precision', list({'rank': rank, 'relevance': relevance}), k),
    (rank, relevance, k, min_relevance) AS
        _sqlrag_measure('session', 'average_precision', list({'rank': rank, 'relevance': relevance}), k, min_relevance);
