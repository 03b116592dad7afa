"""`sqlrag search` and `sqlrag compare`: ask a database a question."""

from __future__ import annotations

import time
from typing import Any

import click

from sqlrag.cli.options import database_argument, json_option, opened_for_query, print_json, search_options

__all__ = ["compare", "search"]


@click.command()
@database_argument
@click.argument("question")
@search_options
@click.option(
    "--budget-ms",
    type=click.FloatRange(min=0),
    metavar="MS",
    help="Time for reranking, in which it scores the best candidates; by default it scores all of them.",
)
@json_option
def search(
    *,
    db: str,
    question: str,
    index: str | None,
    top_k: int,
    top_n: int,
    filter_: str | None,
    params: dict[str, Any] | None,
    reranker: str | None,
    budget_ms: float | None,
    as_json: bool,
) -> None:
    """Find the chunks that answer a QUESTION best.

    Prints the source of each, its score (higher is more relevant), its rank before and after reranking, and its
    text.
    """
    started = time.perf_counter()
    with opened_for_query(db, reranker) as database:
        hits = database.search(
            question, index, top_k=top_k, top_n=top_n, filter=filter_, params=params, budget_ms=budget_ms
        )
    if as_json:
        print_json(hits)
        return
    from sqlrag.cli.render import print_hits, print_note

    print_hits(hits)
    reranked = f", {hits[0].reranked} of them reranked" if hits and budget_ms is not None else ""
    print_note(f"{len(hits)} of the first {top_k} candidates{reranked}, in {time.perf_counter() - started:.2f} s")


@click.command()
@database_argument
@click.argument("question")
@search_options
@json_option
def compare(
    *,
    db: str,
    question: str,
    index: str | None,
    top_k: int,
    top_n: int,
    filter_: str | None,
    params: dict[str, Any] | None,
    reranker: str | None,
    as_json: bool,
) -> None:
    """Show what reranking changes for a QUESTION.

    Prints each of the top_n with its rank before and after, and what was pushed out of the top_n.
    """
    with opened_for_query(db, reranker) as database:
        comparison = database.compare(question, index, top_k=top_k, top_n=top_n, filter=filter_, params=params)
    if as_json:
        print_json(
            {
                "query": comparison.query,
                "top_k": comparison.top_k,
                "top_n": comparison.top_n,
                "hits": comparison.hits,
                "pushed_out": comparison.pushed_out,
                "candidates": comparison.candidates,
            }
        )
        return
    from sqlrag.cli.render import print_comparison

    print_comparison(comparison)
