"""The methods of `Database` that search its indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlrag.database.index_methods import IndexMethods
from sqlrag.process.call_lock import one_at_a_time
from sqlrag.results import Comparison, Context, Hit, Hits
from sqlrag.results.hits import distinct_hits, hits_of
from sqlrag.values.arguments import (
    DEFAULT_FIRST_STAGE_WEIGHT,
    DEFAULT_MAX_CONTEXT,
    DEFAULT_TOP_K,
    DEFAULT_TOP_N,
    DEFAULT_VECTOR_WEIGHT,
    check_budget,
    check_k,
    check_share,
    check_top_n,
)
from sqlrag.values.bindings import as_json

__all__ = ["SearchMethods"]


class SearchMethods(IndexMethods):
    """The part of `Database` that searches. `sqlrag.database.connection.Database` inherits from it."""

    @one_at_a_time
    def search(
        self,
        query: str,
        index: str | None = None,
        *,
        top_k: int = DEFAULT_TOP_K,
        top_n: int = DEFAULT_TOP_N,
        filter: str | None = None,  # noqa: A002 - the contract's name
        params: Mapping[str, Any] | None = None,
        budget_ms: float | None = None,
        first_stage_weight: float = DEFAULT_FIRST_STAGE_WEIGHT,
        vector_weight: float = DEFAULT_VECTOR_WEIGHT,
    ) -> Hits:
        """Search an index in two stages: find `top_k` chunks by meaning and words, rerank them, keep the best `top_n`.

        Parameters:
            query: The question.
            index: Name of the index; by default the only one, or "chunks" if there are several.
            top_k: How many candidates the first stage finds.
            top_n: How many hits are returned, at most `top_k`.
            filter: A boolean SQL expression over the columns of `documents`, or of the indexed table. It is applied
                before the candidates are chosen.
            params: Values of the filter's parameters. They never become part of the SQL, so they may come from anyone.
            budget_ms: How many milliseconds reranking may take; `Hit.reranked` says how many candidates were scored.
                The first is scored in any case, except with a budget of 0: then only known scores are used.
            first_stage_weight: How much the first stage's score counts beside the reranker's in the order of the hits,
                from 0 to 1. 0 orders them by `Hit.score` alone.
            vector_weight: The vectors' share of the first stage, from 0 (words alone) to 1 (vectors alone).

        Returns:
            The hits, best first. A passage that several documents have is one hit, and `Hit.copies` names the others.
            A notebook shows the hits as cards, with a chart of both orders.

        Raises:
            UnknownIndexError: The database has no such index.
            InputError: An argument is wrong.
            FilterError: The filter is not an expression over those columns.
            RerankLimitError: More pairs than `rerank_limit` would be scored.
            SourceGoneError: The indexed table, or a column of it, is gone.

        Examples:
            >>> [hit.title for hit in db.search("how do I undo a migration?", top_n=2)]
            ['Migrations', 'Backups']
            >>> db.search("tea", filter="title = :title", params={"title": "Tea"})[0].rank_before
            1
        """
        weights = first_stage_weight, vector_weight
        found = self._compared("search", query, index, top_k, top_n, filter, params, budget_ms, weights)
        return found.hits

    def _compared(  # noqa: PLR0917 - the arguments of `search`
        self,
        caller: str,
        query: str,
        index: str | None,
        top_k: int,
        top_n: int,
        filter: str | None,  # noqa: A002
        params: Mapping[str, Any] | None,
        budget_ms: float | None,
        weights: tuple[float, float],
    ) -> Comparison:
        top_k = check_k(caller, "top_k", top_k)
        top_n = check_top_n(top_n, top_k)
        budget_ms = None if budget_ms is None else check_budget(budget_ms)
        record = self._record(index)
        bindings = {"query": query, "filter": filter, "budget_ms": budget_ms, "filter_params": as_json(params)}
        for name, weight in zip(("first_stage_weight", "vector_weight"), weights, strict=True):
            bindings[name] = check_share(caller, name, weight)
        sql = self._engine.search_statement(record, filtered=filter is not None)

        def ask(top_k: int) -> list[Hit]:
            return hits_of(self._engine.execute(sql, {**bindings, "top_k": top_k, "top_n": top_k}))

        # In a table, rows with the same text are rows of their own.
        found, top_k = (ask(top_k), top_k) if record.is_over_table else distinct_hits(ask, top_k, top_n)
        return Comparison(query, top_k, top_n, Hits(found, partial(_matching_words, query, record.tokenizer)))

    @one_at_a_time
    def compare(
        self,
        query: str,
        index: str | None = None,
        *,
        top_k: int = DEFAULT_TOP_K,
        top_n: int = DEFAULT_TOP_N,
        filter: str | None = None,  # noqa: A002
        params: Mapping[str, Any] | None = None,
        budget_ms: float | None = None,
        first_stage_weight: float = DEFAULT_FIRST_STAGE_WEIGHT,
        vector_weight: float = DEFAULT_VECTOR_WEIGHT,
    ) -> Comparison:
        """Show how reranking changes the order of the candidates.

        Parameters:
            query: The question; this and the other arguments are those of `search`.
            index: Name of the index.
            top_k: How many candidates the first stage finds.
            top_n: How many of them count as results.
            filter: A boolean SQL expression.
            params: Values of the filter's parameters.
            budget_ms: How many milliseconds reranking may take.
            first_stage_weight: How much the first stage's score counts.
            vector_weight: The vectors' share of the first stage.

        Returns:
            All candidates in their order after reranking; the first `top_n` are what `search` returns. A notebook shows
            them as a chart.

        Raises:
            UnknownIndexError: The database has no such index.
            InputError: An argument is wrong.

        Examples:
            >>> comparison = db.compare("how do I undo a migration?", top_k=3, top_n=1)
            >>> [hit.title for hit in comparison.hits], len(comparison.candidates)
            (['Migrations'], 3)
        """
        weights = first_stage_weight, vector_weight
        return self._compared("compare", query, index, top_k, top_n, filter, params, budget_ms, weights)

    def context(
        self,
        question: str,
        index: str | None = None,
        *,
        max_tokens: int = DEFAULT_MAX_CONTEXT,
        top_k: int = DEFAULT_TOP_K,
        top_n: int | None = None,
        filter: str | None = None,  # noqa: A002
        params: Mapping[str, Any] | None = None,
        order: str = "ends",
        format: str = "markdown",  # noqa: A002 - the word of the command line
    ) -> Context:
        """Return the best passages that fit into the prompt of a language model, numbered, with their sources.

        Candidates are taken in their order after reranking while they fit. Neighbouring chunks of a document become one
        passage. A text that is already there is left out.

        Parameters:
            question: The question; this and the next arguments are those of `search`.
            index: Name of the index.
            max_tokens: Tokens of the whole text, at most, as the index's embedder counts them. Other models count
                differently, a larger vocabulary mostly fewer.
            top_k: How many candidates the first stage finds.
            top_n: How many chunks are taken, at most; by default as many as fit.
            filter: A boolean SQL expression.
            params: Values of the filter's parameters.
            order: "ends" puts the best passage first and the second best last, because models overlook what is in the
                middle of a long prompt (Liu et al., Lost in the Middle, 2023, https://arxiv.org/abs/2307.03172).
                "score" puts the best first. "document" keeps the passages of a document together, in the order of its
                text; the document with the best passage comes first.
            format: "markdown", "json" or "xml". Only JSON and XML keep a passage from looking like two.

        Returns:
            The text, its tokens, and its passages. There are none if even the shortest candidate does not fit.

        Raises:
            UnknownIndexError: The database has no such index.
            InputError: An argument is wrong.

        Examples:
            >>> print(db.context("how do I undo a migration?", top_k=1))
            ### [1] Migrations (...migrations.md)
            <BLANKLINE>
            To roll back a migration, run the downgrade command.
        """
        from sqlrag.database.context import check_context, gather

        max_tokens = check_context(max_tokens, order, format)
        top_n = check_k("context", "top_k", top_k) if top_n is None else top_n
        hits = self.search(question, index, top_k=top_k, top_n=top_n, filter=filter, params=params)
        with self._call_lock:
            count = self._engine.encoders.embedder_of(self._record(index)).token_count
            return gather(question, hits, count, max_tokens=max_tokens, order=order, form=format)


def _matching_words(question: str, tokenizer: str, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    from sqlrag.store.highlight import matching_words

    return matching_words(question, texts, tokenizer)
