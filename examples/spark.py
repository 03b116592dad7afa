"""From a DataFrame to reranked answers on Spark SQL: an index in shards is built once, and then asked.

python examples/spark.py articles.jsonl "who may see my messages?"

It needs `pip install "sqlrag[spark]"` and Java 17. JSON lines with the fields id, title and text; the index goes beside
the file, into a folder that ends in `-index`. The second run finds it there.
"""

from __future__ import annotations

import os
import sys

USAGE = 'usage: python examples/spark.py FILE.jsonl "QUESTION"'

STATEMENT = """
SELECT   c.id, c.text, rerank_score(:q, c.text) AS score
FROM     vector_top_k('chunks', embed(:q), 25) AS hit, LATERAL chunk('chunks', hit.id) AS c
ORDER BY score DESC
LIMIT    3
"""


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(USAGE)
    from pyspark.sql import SparkSession

    import sqlrag.spark

    file, question = os.path.abspath(sys.argv[1]), sys.argv[2]  # executors have another working directory
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.getOrCreate()
    index = os.path.splitext(file)[0] + "-index"
    if not os.path.exists(index):
        made = sqlrag.spark.build(spark.read.json(file), index, text="{title}: {text}", key="id")
        print(f"{made.added} rows in {made.shards} shards")
    sqlrag.spark.register(spark, index)
    for row in spark.sql(STATEMENT, args={"q": question}).collect():
        print(f"{row.score:.3f}  {row.text[:80]}")


if __name__ == "__main__":
    main()
