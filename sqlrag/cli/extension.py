"""`sqlrag extension`: the functions for every program that uses SQLite."""

from __future__ import annotations

import click

from sqlrag.cli.options import json_option, print_json

__all__ = ["extension"]


@click.command()
@json_option
def extension(as_json: bool) -> None:
    """Print the path of the SQLite extension.

    It gives sqlrag's functions to whatever can load one: `.load PATH` in the sqlite3 shell,
    `SELECT load_extension('PATH')`, `datasette notes.db --load-extension PATH`. The models are those of
    `sqlrag serve`, which it starts where it does not run.
    """
    from sqlrag.store.driver.built_library import loadable_path

    path = loadable_path()
    if as_json:
        print_json({"path": path})
    else:
        click.echo(path)
