"""A retriever for LangChain: `pip install "sqlrag[langchain]"`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlrag.database import Database
from sqlrag.errors import MissingDependencyError
from sqlrag.integrations.retrieval import metadata_of, search_of
from sqlrag.results import Hit
from sqlrag.values.arguments import DEFAULT_TOP_K, DEFAULT_TOP_N

try:
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import PrivateAttr
except ImportError as error:
    raise MissingDependencyError(f'this needs langchain-core ({error}): pip install "sqlrag[langchain]"') from error

if TYPE_CHECKING:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun

__all__ = ["SqlragRetriever"]


class SqlragRetriever(BaseRetriever):  # type: ignore[misc]  # of a package that mypy does not follow
    """A LangChain retriever with both stages: `top_n` documents of `top_k` candidates, best first.

    `database` is open. `index`, `top_k`, `top_n` and `filter` are those of `Database.search`. Each document is a chunk,
    with the metadata of its source and `source` (the uri), `title`, `source_id`, `chunk_id`, `score`, `rank_before` and
    `rank_after`. Raises what `Database.search` does.
    """

    database: Database
    index: str | None = None
    top_k: int = DEFAULT_TOP_K
    top_n: int = DEFAULT_TOP_N
    filter: str | None = None

    _search: Callable[[str], list[Hit]] = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Prepare the search. Called by pydantic."""
        super().model_post_init(context)
        self._search = search_of(self.database, self.index, self.top_k, self.top_n, self.filter)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        del run_manager
        hits = self._search(query)
        return [Document(page_content=hit.text, id=str(hit.id), metadata=metadata_of(hit)) for hit in hits]
