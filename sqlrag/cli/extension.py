"""`sqlrag extension`: print the path of the loadable extension."""

from __future__ import annotations

import click

from sqlrag.cli.options import json_option, print_json

__all__ = ["extension"]


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
