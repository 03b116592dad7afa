/* Made by functions.py from sqlrag/engines/functions.py and sqlrag/engines/sqlite/functions.py. */

static const struct scalar_function SCALARS[] = {
    {"embed", 1, 2},
    {"embed_document", 1, 2},
    {"token_count", 1, 2},
    {"rerank_score", 2, 3},
};

static const struct table_function TABLES[] = {
    {"vector_top_k", 3, 3, 7, {"index", "query", "k", "filter", "candidates", "filter_params", "nprobe"},
     "CREATE TABLE x(\"id\", \"distance\", \"rank\", \"index\" HIDDEN, \"query\" HIDDEN, \"k\" HIDDEN, \"filter\" HIDDEN, \"candidates\" HIDDEN, \"filter_params\" HIDDEN, \"nprobe\" HIDDEN)"},
    {"text_top_k", 3, 3, 5, {"index", "query", "k", "filter", "filter_params"},
     "CREATE TABLE x(\"id\", \"score\", \"rank\", \"index\" HIDDEN, \"query\" HIDDEN, \"k\" HIDDEN, \"filter\" HIDDEN, \"filter_params\" HIDDEN)"},
    {"hybrid_top_k", 3, 3, 7, {"index", "query", "k", "filter", "vector_weight", "filter_params", "candidates"},
     "CREATE TABLE x(\"id\", \"score\", \"rank\", \"index\" HIDDEN, \"query\" HIDDEN, \"k\" HIDDEN, \"filter\" HIDDEN, \"vector_weight\" HIDDEN, \"filter_params\" HIDDEN, \"candidates\" HIDDEN)"},
    {"search", 9, 2, 9, {"index", "query", "top_k", "top_n", "filter", "budget_ms", "filter_params", "first_stage_weight", "vector_weight"},
     "CREATE TABLE x(\"id\", \"text\", \"score\", \"distance\", \"rank_before\", \"rank_after\", \"source_id\", \"reranked\", \"copies\", \"index\" HIDDEN, \"query\" HIDDEN, \"top_k\" HIDDEN, \"top_n\" HIDDEN, \"filter\" HIDDEN, \"budget_ms\" HIDDEN, \"filter_params\" HIDDEN, \"first_stage_weight\" HIDDEN, \"vector_weight\" HIDDEN)"},
    {"chunk", 4, 2, 2, {"index", "chunk_id"},
     "CREATE TABLE x(\"id\", \"source_id\", \"text\", \"context\", \"index\" HIDDEN, \"chunk_id\" HIDDEN)"},
    {"chunk_text", 4, 1, 3, {"source", "max_tokens", "overlap"},
     "CREATE TABLE x(\"ordinal\", \"start_char\", \"end_char\", \"text\", \"source\" HIDDEN, \"max_tokens\" HIDDEN, \"overlap\" HIDDEN)"},
    {"sqlrag_info", 23, 0, 0, {NULL},
     "CREATE TABLE x(\"index\", \"source\", \"documents\", \"chunks\", \"tokens\", \"truncated\", \"max_tokens\", \"overlap\", \"embedder\", \"embedder_hash\", \"dimension\", \"window\", \"reranker\", \"reranker_hash\", \"backlog\", \"tokenizer\", \"vectors\", \"candidates\", \"recall\", \"cached_scores\", \"cache_hits\", \"backlog_seconds\", \"states\")"},
};
