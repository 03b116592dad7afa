"""A retriever for LlamaIndex: `pip install "sqlrag[llama-index]"`."""

from __future__ import annotations

from sqlrag.database import Database
from sqlrag.errors import MissingDependencyError
from sqlrag.integrations.retrieval import OWN_FIELDS, metadata_of, search_of
from sqlrag.results import Hit
from sqlrag.values.arguments import DEFAULT_TOP_K, DEFAULT_TOP_N

try:
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
except ImportError as error:
    raise MissingDependencyError(f'this needs llama-index-core ({error}): pip install "sqlrag[llama-index]"') from error

__all__ = ["SqlragRetriever"]

# A model that reads the text has no use for these.
_NOT_FOR_MODELS = [name for name in OWN_FIELDS if name not in {"source", "title"}]


class SqlragRetriever(BaseRetriever):  # type: ignore[misc]  # of a package that mypy does not follow
    """A LlamaIndex retriever with both stages: `top_n` nodes of `top_k` candidates, best first.

    `database` is open. `index`, `top_k`, `top_n` and `filter` are those of `Database.search`. Each node is a chunk,
    with the metadata of its source and `source` (the uri), `title`, `source_id`, `chunk_id`, `score`, `rank_before` and
    `rank_after`. Raises what `Database.search` does.
    """

    def __init__(
        self,
        database: Database,
        index: str | None = None,
        *,
        top_k: int = DEFAULT_TOP_K,
        top_n: int = DEFAULT_TOP_N,
        filter: str | None = None,  # noqa: A002 - the contract's name
    ) -> None:
        super().__init__()
        self._search = search_of(database, index, top_k, top_n, filter)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=_node(hit), score=hit.score) for hit in self._search(query_bundle.query_str)]


def _node(hit: Hit) -> TextNode:
    return TextNode(
        id_=str(hit.id),
        text=hit.text,
        metadata=metadata_of(hit),
        excluded_llm_metadata_keys=_NOT_FOR_MODELS,
        excluded_embed_metadata_keys=_NOT_FOR_MODELS,
        start_char_idx=hit.start_char,
        end_char_idx=hit.end_char,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=str(hit.source_id))},
    )
