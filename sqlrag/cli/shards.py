"""`sqlrag export` and `spark-pull`: from one machine's database to an index in shards, and one shard back."""

from __future__ import annotations

from dataclasses import asdict

import click

from sqlrag.cli.options import database_argument, index_option, json_option, print_json

__all__ = ["export", "spark_pull"]


@click.command()
@database_argument
@click.argument("folder")
@click.option("--shards", type=int, default=8, show_default=True, metavar="N", help="The number of shards.")
@index_option
@json_option
def export(db: str, folder: str, shards: int, index: str | None, *, as_json: bool) -> None:
    """Export an index in shards, for Spark SQL.

    \b
    sqlrag export papers.db /shared/papers --shards 16
    sqlrag export papers.db s3://bucket/papers

    FOLDER is a path or a URL of a file system that fsspec knows, where no index is yet. The chunks and their ids are
    those of the database, and nothing is embedded anew. It needs pip install "sqlrag[spark]" on this machine, and no
    Java.
    """  # noqa: D301 - \b is click's mark of a paragraph to leave as it is
    from sqlrag.spark.copies import export as export_shards

    made = export_shards(db, folder, index=index, shards=shards)
    chunks = sum(shard.chunks for shard in made.shards)
    if as_json:
        print_json({"path": folder, "version": made.version, "shards": len(made.shards), "chunks": chunks})
    else:
        click.echo(f"{folder}: index {made.record.name}, {chunks:,} chunks in {len(made.shards)} shards")


@click.command("spark-pull")
@click.argument("folder")
@click.argument("number", type=int)
@click.argument("file")
@json_option
def spark_pull(folder: str, number: int, file: str, *, as_json: bool) -> None:
    """Copy one shard of an index to a database file.

    \b
    sqlrag spark-pull s3://bucket/papers 3 papers-3.db

    FILE is a SQLite database of sqlrag's like any other, without the rows that were deleted from the index.
    """  # noqa: D301
    from sqlrag.spark.upkeep import pull

    shard = pull(folder, number, file)
    chunks = shard.chunks - shard.gone_chunks
    if as_json:
        print_json({"path": file, "shard": asdict(shard), "chunks": chunks})
    else:
        click.echo(f"{file}: shard {number}, {chunks:,} chunks")
