"""One session of Spark's for all tests, on two cores of this machine; each test file registers its own index."""

from __future__ import annotations

import os
import shutil
import sys
import warnings

import pytest

import sqlrag


def spark_is_here() -> str | None:
    """Return what is missing, None if nothing is."""
    try:
        import fsspec  # noqa: F401
        import pyspark  # noqa: F401
    except ImportError as error:
        return f'{error.name} is not installed: pip install "sqlrag[spark]"'
    return None if shutil.which("java") else "Java is not installed"


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """A session on two cores."""
    if missing := spark_is_here():
        pytest.skip(missing)
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.memory", "1g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
        .config("spark.executorEnv.SQLRAG_CACHE", str(folder / "cache"))
        .config("spark.task.maxFailures", "1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def exported(passage_files, tmp_path_factory):
    """The passages of the conformance suite, in four shards, from each engine."""
    from sqlrag.spark import export

    folders = {}
    for engine, path in passage_files.items():
        folders[engine] = tmp_path_factory.mktemp("exported") / engine
        export(path, folders[engine], shards=4)
    return folders


def one_machine(folder, rows, columns, **options):
    """Return a database on one machine with the same rows, for comparison."""
    db = sqlrag.connect(folder / "one.db")
    db.execute(f"CREATE TABLE source ({columns})")
    places = ", ".join("?" * len(rows[0]))
    for row in rows:
        db.execute(f"INSERT INTO source VALUES ({places})", row)
    db.create_index("chunks", "source", **options)
    return db
