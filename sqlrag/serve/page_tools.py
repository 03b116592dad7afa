"""The tools behind the page of `sqlrag serve DB --http`: those of the JSON API, and what only the page asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sqlrag.errors import InputError
from sqlrag.models.named_models import model_names
from sqlrag.serve.tools import Filter, Question, Tools, TopK, TopN, index_name
from sqlrag.serve.two_stages import Asked, answered, marked
from sqlrag.values.arguments import DEFAULT_TOP_K, DEFAULT_TOP_N, check_k, check_top_n, shown

if TYPE_CHECKING:
    from sqlrag.database import Database
    from sqlrag.results import IndexInfo
    from sqlrag.serve.untrusted import LimitedDatabase

__all__ = ["PageTools"]

FirstStage = Annotated[str, Field(description="'vector', 'text' or 'hybrid'.")]
Reranker = Annotated[str | None, Field(description="A bundled or pulled cross-encoder; by default the server's.")]
Budget = Annotated[float | None, Field(description="Milliseconds for reranking, with the first stage 'hybrid'.")]
Ids = Annotated[list[int], Field(description="Ids of chunks.")]
IndexName = Annotated[str, Field(description="Name of an index.")]


class PageTools(Tools):
    """The tools over one database, with those of the page."""

    def __init__(self, database: LimitedDatabase, path: str) -> None:
        super().__init__(database, path)
        self._infos: Sequence[IndexInfo] = ()

    def about(self) -> dict[str, Any]:
        """Return what the page needs to know before it asks: indexes, models and the engine."""

        def ask(database: Database) -> dict[str, Any]:
            self._infos = database.info()
            return {
                "path": database.path,
                "engine": database.engine,
                "indexes": [asdict(info) for info in self._infos],
                "rerankers": model_names("cross-encoder"),
            }

        return self._database.run(ask)

    def two_stages(  # noqa: PLR0917 - arguments of JSON, which have no order
        self,
        question: Question,
        index: IndexName,
        first_stage: FirstStage = "hybrid",
        top_k: TopK = DEFAULT_TOP_K,
        top_n: TopN = DEFAULT_TOP_N,
        filter: Filter = None,  # noqa: A002 - the contract's name
        reranker: Reranker = None,
        budget_ms: Budget = None,
    ) -> dict[str, Any]:
        """Return the candidates of a question in both orders, the time of each part, and code that does the same."""
        top_n = check_top_n(top_n, check_k("search", "top_k", top_k))
        asked = Asked(question, index, first_stage, top_k, top_n, filter, reranker, budget_ms)
        return self._noted(lambda database: answered(database, asked, self._info(database, index)))

    def marks(self, question: Question, index: IndexName, ids: Ids, top_n: TopN = DEFAULT_TOP_N) -> dict[str, Any]:
        """Return the texts of hits with the words of the question and the nearest sentence marked."""
        check_k("marks", "top_n", top_n)
        if wrong := [one for one in ids if not 0 <= one < 1 << 63]:
            raise InputError(f"ids has {shown(wrong[0])}: it takes ids of chunks")
        return self._database.run(lambda database: marked(database, question, self._info(database, index), ids, top_n))

    def _info(self, database: Database, index: str) -> IndexInfo:
        """Return what is known of an index, counted at most once. Raises UnknownIndexError."""
        name = index_name(database, index)
        if all(info.index != name for info in self._infos):
            self._infos = database.info()
        return next(info for info in self._infos if info.index == name)
