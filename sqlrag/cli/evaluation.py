"""`sqlrag eval`: measure whether reranking pays on the user's own documents and questions."""

from __future__ import annotations

from typing import Any

import click

from sqlrag.cli.options import (
    chosen_models,
    database_argument,
    index_option,
    json_option,
    model_options,
    print_json,
    reranker_option,
    weight_option,
)
from sqlrag.values.arguments import DEFAULT_KNOWN_ITEMS, DEFAULT_RESAMPLES, DEFAULT_SEED, DEFAULT_SPLIT, DEFAULT_TOP_KS

__all__ = ["evaluate"]


def _numbers(_ctx: click.Context, _param: click.Parameter, value: str) -> list[int]:
    try:
        numbers = [int(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers from 1, such as 10,25,100")
    return numbers


@click.command(name="eval")
@database_argument
@click.option("--queries", metavar="PATH", help="Queries: BEIR's jsonl, TREC's `id<TAB>text`, or a BEIR folder.")
@click.option("--qrels", metavar="PATH", help="Judgements: BEIR's tsv, TREC's qrels, or a BEIR folder.")
@click.option("--split", default=DEFAULT_SPLIT, show_default=True, help="Split of the judgements in a BEIR folder.")
@click.option(
    "--synthetic",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=DEFAULT_KNOWN_ITEMS,
    metavar="[N]",
    help=f"Instead of judgements: N queries made from the index's own chunks, {DEFAULT_KNOWN_ITEMS} by default.",
)
@click.option("--run", metavar="PATH", help="A TREC run to rerank, such as another system's top 100.")
@click.option(
    "--first-stage",
    "first_stages",
    multiple=True,
    type=click.Choice(["vector", "text", "hybrid"]),
    help="May be repeated. By default all three; with --run, none.",
)
@click.option(
    "--top-k",
    default=",".join(map(str, DEFAULT_TOP_KS)),
    show_default=True,
    metavar="K,K,…",
    callback=_numbers,
    help="Numbers of candidates to compare.",
)
@click.option("--most", type=click.IntRange(min=1), metavar="N", help="Ask the first N judged queries only.")
@index_option
@reranker_option
@weight_option
@model_options
@click.option(
    "--document-id",
    metavar="SQL",
    help="Expression over the columns of documents that gives the ids of the judgements, such as "
    "\"metadata ->> 'id'\"; by default what stands in uri after '#', or all of it.",
)
@click.option(
    "--resamples",
    type=click.IntRange(min=1),
    default=DEFAULT_RESAMPLES,
    show_default=True,
    help="Resamples of the bootstrap intervals.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=DEFAULT_SEED, show_default=True, help="Seed of the random numbers."
)
@click.option("--plots", metavar="FOLDER", help="Draw quality.png and context.png there (needs the extra `eval`).")
@json_option
def evaluate(
    *, db: str, index: str | None, reranker: str | None, plots: str | None, as_json: bool, **options: Any
) -> None:
    """Measure whether reranking pays on a corpus.

    Asks judged queries with vectors, full text and both, without and with reranking, at several top_k. Prints
    quality with 95 % intervals and the time, and says whether reranking pays and at which top_k it stops paying.
    DB is not changed.

    Judgements are files of BEIR or TREC, plain or gzip; for a folder in BEIR's layout, give
    `--queries FOLDER --qrels FOLDER`. If you have none, `--synthetic` makes queries from the index's own chunks, and
    says what that can and cannot show.
    """
    import sqlrag

    judged = options["queries"] is not None and options["qrels"] is not None
    if options["synthetic"] is None and not judged:
        raise click.UsageError("give --queries and --qrels, or --synthetic for queries made from the index's chunks")
    unused = [
        f"--{name}"
        for name in ("queries", "qrels", "run", "document-id")
        if options[name.replace("-", "_")] is not None
    ]
    if options["synthetic"] is not None and unused:
        raise click.UsageError(
            f"--synthetic makes its own queries and judges its own chunks: leave {' and '.join(unused)} out"
        )
    if plots is not None:
        from sqlrag.evaluation.plots import check_plots

        check_plots(plots)
    from sqlrag.cli.progress import steps_bar
    from sqlrag.evaluation.kept import keep

    with sqlrag.connect(db, read_only=True, reranker=reranker, **chosen_models()) as database, steps_bar() as progress:
        options["first_stages"] = options["first_stages"] or None
        evaluation = database.evaluate(index=index, progress=progress, **options)
    keep(evaluation)
    drawn = []
    if plots is not None:
        from sqlrag.evaluation.plots import draw_plots

        drawn = draw_plots(evaluation, plots)
    if as_json:
        print_json(evaluation)
        return
    from sqlrag.cli.charts import print_charts, print_evaluation

    print_evaluation(evaluation)
    print_charts(evaluation)
    for path in drawn:
        click.echo(f"drawn: {path}", err=True)
