"""`sqlrag search`, `sqlrag compare` and `sqlrag context`: ask a database a question."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from sqlrag.cli.options import (
    candidate_options,
    chosen_models,
    database_argument,
    json_option,
    opened_for_query,
    print_json,
    search_options,
    weight_option,
)
from sqlrag.values.arguments import DEFAULT_FIRST_STAGE_WEIGHT, DEFAULT_MAX_CONTEXT

__all__ = ["compare", "context", "search"]


@click.command()
@database_argument
@click.argument("question")
@search_options
@weight_option
@click.option(
    "--budget-ms",
    type=click.FloatRange(min=0),
    metavar="MS",
    help="Time for reranking, in which it scores the best candidates; by default it scores all of them.",
)
@click.option("--open", "opens", is_flag=True, help='Show the answer in a browser instead (needs "sqlrag[http]").')
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
    first_stage_weight: float,
    budget_ms: float | None,
    opens: bool,
    as_json: bool,
) -> None:
    """Find the chunks that answer a QUESTION best.

    Prints the source of each, its score (higher is more relevant), its rank before and after reranking, and its
    text. On a terminal, the words of the question are marked.
    """
    if opens:
        if params:
            raise click.UsageError("--open takes a filter without parameters: write the values of -p into --filter")
        if first_stage_weight != DEFAULT_FIRST_STAGE_WEIGHT:
            raise click.UsageError("--open goes without --first-stage-weight: the page has no such setting")
        from sqlrag.cli.serve_database import open_page

        state = {"q": question, "index": index, "k": top_k, "n": top_n, "filter": filter_, "budget": budget_ms}
        open_page(db, state, models=chosen_models(reranker), as_json=as_json)
        return
    started = time.perf_counter()
    with opened_for_query(db, reranker) as database:
        hits = database.search(
            question,
            index,
            top_k=top_k,
            top_n=top_n,
            filter=filter_,
            params=params,
            budget_ms=budget_ms,
            first_stage_weight=first_stage_weight,
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
@weight_option
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
    first_stage_weight: float,
    as_json: bool,
) -> None:
    """Show what reranking changes for a QUESTION.

    Prints each of the top_n with its rank before and after, and what was pushed out of the top_n.
    """
    with opened_for_query(db, reranker) as database:
        comparison = database.compare(
            question,
            index,
            top_k=top_k,
            top_n=top_n,
            filter=filter_,
            params=params,
            first_stage_weight=first_stage_weight,
        )
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


@click.command()
@database_argument
@click.argument("question")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=DEFAULT_MAX_CONTEXT,
    show_default=True,
    help="Tokens of the whole text, at most, as the index's embedder counts them.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "json", "xml"]),
    default="markdown",
    show_default=True,
    help="What to print.",
)
@click.option(
    "--order",
    type=click.Choice(["ends", "score", "document"]),
    default="ends",
    show_default=True,
    help="Best passages at both ends, since models overlook the middle of a long prompt; best first; or as in their "
    "documents.",
)
@candidate_options(
    click.option("--top-n", type=click.IntRange(min=1), help="Chunks to take, at most; by default as many as fit.")
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def context(
    *,
    db: str,
    question: str,
    max_tokens: int,
    form: str,
    order: str,
    index: str | None,
    top_k: int,
    top_n: int | None,
    filter_: str | None,
    params: dict[str, Any] | None,
    reranker: str | None,
    as_json: bool,
) -> None:
    """Print passages that answer a QUESTION, for a prompt.

    The best passages that fit into --max-tokens of a language model, numbered, with their sources to cite.
    Neighbouring chunks become one passage, and no text comes twice.

    sqlrag context notes.db "how do I roll back a migration?" | llm "Answer from these passages and cite their numbers"
    """
    with opened_for_query(db, reranker) as database:
        found = database.context(
            question,
            index,
            max_tokens=max_tokens,
            top_k=top_k,
            top_n=top_n,
            filter=filter_,
            params=params,
            order=order,
            format="json" if as_json else form,
        )
    if found.text:
        click.echo(found.text)
    if not found.passages:
        click.echo(f"Note: nothing that was found fits into {max_tokens:,} tokens", err=True)
    elif sys.stdout.isatty():
        count = len(found.passages)
        click.echo(f"Note: {count} passage{'s' * (count != 1)}, {found.tokens:,} of {max_tokens:,} tokens", err=True)
