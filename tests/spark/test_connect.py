"""A client of Spark Connect: the same calls, against a server in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import PASSAGES
from tests.spark.conftest import spark_is_here

pytestmark = pytest.mark.slow

PROGRAM = """
import json, sys
from pyspark.sql import SparkSession
from sqlrag.spark import build, delete, register, search

spark = SparkSession.builder.remote("local[2]").config("spark.driver.memory", "1g").getOrCreate()
passages, path = sys.argv[1:]
rows = [(place, json.loads(line)["text"]) for place, line in enumerate(open(passages, encoding="utf-8"))]
question = "how do bees tell each other where food is?"
made = build(spark.createDataFrame(rows, "id BIGINT, body STRING"), path, text="body", key="id", shards=2)
register(spark, path)
hits = spark.sql("SELECT source_id FROM search('chunks', :q, 25, 1)", args={"q": question}).collect()
nearest = "SELECT c.source_id FROM vector_top_k('chunks', embed(:q), 1) AS hit JOIN chunks AS c ON c.id = hit.id"
joined = spark.sql(nearest, args={"q": question}).collect()
many = search(spark, [question], top_n=1).collect()
gone = delete(spark.createDataFrame([(0,)], "id BIGINT"), path)
print(json.dumps([type(spark).__module__, made.added, hits[0][0], joined[0][0], many[0].source_id, gone.removed]))
spark.stop()
"""


def test_the_same_calls(tmp_path):
    """Building, asking in SQL, many questions and deleting."""
    pytest.importorskip("grpc", reason='grpcio is not installed: pip install "pyspark[connect]"')
    if missing := spark_is_here():
        pytest.skip(missing)
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [sys.executable, "-c", PROGRAM, str(PASSAGES), str(tmp_path / "index")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == ["pyspark.sql.connect.session", 25, 0, 0, 0, 1]
