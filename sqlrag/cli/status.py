"""`sqlrag info` and `sqlrag check`: what is in a database, and whether it is sound."""

from __future__ import annotations

import click

from sqlrag.cli.options import database_argument, json_option, print_json

__all__ = ["check", "info"]


@click.command()
@database_argument
@json_option
def info(db: str, as_json: bool) -> None:
    """Show indexes, models, counts, backlog."""
    import sqlrag

    with sqlrag.connect(db, read_only=True) as database:
        indexes = database.info()
        engine, size = database.engine, database.size()
    if as_json:
        print_json({"path": db, "engine": engine, "bytes": size, "indexes": indexes})
        return
    from sqlrag.cli.render import print_info

    print_info(db, engine, size, indexes)


@click.command()
@database_argument
@json_option
def check(db: str, as_json: bool) -> None:
    """Look for damage in a database.

    Chunks without vectors, an index behind its table, a broken file: prints a problem per line. The exit
    status is 1 if there is any.
    """
    import sqlrag

    with sqlrag.connect(db, read_only=True) as database:
        problems = database.check()
    if as_json:
        print_json(problems)
    else:
        click.echo("\n".join(problems) if problems else f"{db}: no problems found")
    if problems:
        click.get_current_context().exit(1)
