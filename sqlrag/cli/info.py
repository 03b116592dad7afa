"""`sqlrag info`, `check` and `extension`: show what a database holds, look for damage, print a path."""

from __future__ import annotations

import click

from sqlrag.cli.ingest import UNKNOWN_SHARE, unknown_text
from sqlrag.cli.options import database_argument, json_option, print_json

__all__ = ["check", "extension", "info"]


@click.command()
@database_argument
@json_option
def info(db: str, as_json: bool) -> None:
    """Show indexes, models, counts and backlog."""
    import sqlrag

    with sqlrag.connect(db, read_only=True) as database:
        indexes = database.info()
        engine, size = database.engine, database.size()
        unknown = {one.index: database._unknown_share(one.index) for one in indexes if not as_json}  # noqa: SLF001
        problems = database._source_errors()  # noqa: SLF001 - `check` says so in public, and reads every index for it
    if as_json:
        print_json({"path": db, "engine": engine, "bytes": size, "indexes": indexes})
        return
    from sqlrag.cli.render import print_info

    print_info(db, engine, size, indexes, problems)
    for index, share in unknown.items():
        if share >= UNKNOWN_SHARE:
            click.echo(f"Note: index {index}: {unknown_text(share)}", err=True)


@click.command()
@database_argument
@click.option("--repair", is_flag=True, help="Repair the indexes, and say what is still wrong.")
@json_option
def check(db: str, repair: bool, as_json: bool) -> None:
    """Look for damage in a database.

    Finds chunks without vectors, an index that is behind its table, a broken file. Prints one problem per line;
    the exit status is 1 if there is any. --repair rebuilds what is wrong in an index. It never writes to a table of
    yours.
    """
    import sqlrag
    from sqlrag.cli.progress import progress_bar

    with sqlrag.connect(db, read_only=not repair, must_exist=True) as database:
        if repair:
            with progress_bar() as progress:
                problems = database.repair(progress)
        else:
            problems = database.check()
    if as_json:
        print_json(problems)
    else:
        click.echo("\n".join(problems) if problems else f"{db}: no problems found")
    if problems:
        click.get_current_context().exit(1)


@click.command()
@json_option
def extension(as_json: bool) -> None:
    """Print the path of the SQLite extension.

    It gives the functions of sqlrag to any program that can load an extension: `.load PATH` in the sqlite3 shell,
    `SELECT load_extension('PATH')`, `datasette notes.db --load-extension PATH`. `sqlrag serve` runs the models for it;
    the extension starts that if it does not run.
    """
    from sqlrag.store.driver.built_library import loadable_path

    path = loadable_path()
    if as_json:
        print_json({"path": path})
    else:
        click.echo(path)
