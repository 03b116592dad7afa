"""`sqlrag demo`: search the standard library of this Python by meaning."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sqlrag.cli.options import engine_option, json_option, print_json

if TYPE_CHECKING:
    from sqlrag.database import Database
    from sqlrag.results import Comparison, IngestReport

__all__ = ["demo"]

Row = tuple[Any, ...]


@click.command()
@click.option(
    "--path",
    type=click.Path(dir_okay=False),
    help="Database to create or reuse.  [default: python-stdlib.db, python-stdlib.duckdb]",
)
@engine_option
@click.option("--open", "opens", is_flag=True, help='Then show the page in a browser (needs "sqlrag[http]").')
@json_option
def demo(path: str | None, engine: str | None, opens: bool, as_json: bool) -> None:
    """Search the documentation of Python itself by meaning.

    Indexes the docstrings of the interpreter that runs sqlrag in a database in the current folder, and asks three
    questions. Nothing is downloaded, and a second run reuses the database. With --open it then shows both stages in
    a browser, until Ctrl-C.
    """
    if opens:
        from sqlrag.cli.serve_database import check_http

        check_http()  # before the documentation is indexed
    import sqlrag
    from sqlrag.cli.progress import interruptible
    from sqlrag.cli.standard_library import INDEX, PATH, QUESTIONS, harvest
    from sqlrag.store.statements import statement

    path = path or str(Path(PATH).with_suffix(".duckdb" if engine == "duckdb" else ".db"))
    sql = statement("demo")
    with sqlrag.connect(path, engine=engine) as database:
        documents = harvest()
        if not as_json:
            click.echo(_welcome(len(documents), path))
        with interruptible(path) as progress:
            report = database.ingest(documents, INDEX, progress=progress)
        if not as_json:
            click.echo(_summary(report))
        answers = [_ask(database, sql, question) for question in QUESTIONS]
    if as_json:
        print_json(
            {
                "path": path,
                "report": report,
                "sql": sql,
                "questions": [
                    {"question": one.query, "hits": one.hits, "pushed_out": one.pushed_out} for _, one in answers
                ],
            }
        )
    else:
        _show(sql, answers)
        click.echo(_invitation(path, QUESTIONS[0]))
    if opens:
        from sqlrag.cli.serve_database import open_page

        open_page(path, {"q": QUESTIONS[0]}, models={}, as_json=as_json)


def _ask(database: Database, sql: str, question: str) -> tuple[list[Row], Comparison]:
    """Run the statement, and compare its orders: vectors, then scores, all of which are in memory."""
    rows = database.execute(sql, {"q": question}).fetchall()
    return rows, database.compare(question, top_k=25, top_n=3, first_stage_weight=0, vector_weight=1)


def _welcome(count: int, path: str) -> str:
    version = platform.python_version()
    return f"The standard library of Python {version}, {count:,} docstrings → {path}"


def _summary(report: IngestReport) -> str:
    if not report.chunks:
        return "All of it is there from an earlier run.\n"
    rate = report.tokens / max(report.seconds, 1e-3)
    return (
        f"{report.chunks:,} chunks, {report.tokens:,} tokens embedded in {report.seconds:.0f} s "
        f"({rate:,.0f} tokens/s).\n"
    )


def _show(sql: str, answers: list[tuple[list[Row], Comparison]]) -> None:
    """Print the statement, then the rows of each question with their movement, and what they pushed out."""
    from sqlrag.cli.render import console, movement, print_indented, print_line, print_lines, snippet, title_of

    if sys.stdout.isatty():
        from rich.syntax import Syntax

        console().print(Syntax(sql, "sql", background_color="default"))
    else:
        click.echo(sql)
    for rows, comparison in answers:
        print_line((f":q = '{comparison.query}'", "bold"))
        hits = {hit.id: hit for hit in comparison.candidates}
        print_lines(
            [
                ((f"{score:.4f}", "cyan"), movement(hit), (title_of(hit), "bold"), snippet(hit))
                for hit, score in ((hits[row[0]], row[2]) for row in rows)
            ]
        )
        if comparison.pushed_out:
            out = ", ".join(f"{title_of(hit)} ({hit.rank_before} → {hit.rank_after})" for hit in comparison.pushed_out)
            print_indented(f"pushed out: {out}", 2, "dim")
        print_line()


def _invitation(path: str, question: str) -> str:
    program = _program()
    return (
        "Try it yourself:\n"
        f'  {program} search {path} "wait until several threads have arrived"\n'
        f'  {program} compare {path} "{question}"\n'
        f'  {program} sql {path} -p q="how many cores does this machine have?" \\\n'
        "      \"SELECT title, score FROM search('chunks', :q) JOIN documents d ON d.id = source_id "
        'ORDER BY score DESC"\n'
        f"  {program} shell {path}\n"
        f'  {program} serve {path} --http --open    # both stages in a browser, after: pip install "sqlrag[http]"'
    )


def _program() -> str:
    """Return how to call this program: its name if the shell finds it, otherwise its path from the current folder."""
    called = Path(sys.argv[0])
    found = shutil.which("sqlrag")
    if called.name != "sqlrag" or (found and Path(found).resolve() == called.resolve()):
        return "sqlrag"
    return os.path.relpath(called)
