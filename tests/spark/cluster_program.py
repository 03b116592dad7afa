"""What tests/spark/test_cluster.py runs on a standalone cluster: build and ask, undisturbed and with processes killed.

    python cluster_program.py MASTER_URL FOLDER MARK

MARK is in the environment of the executors' processes, so that only these are killed, each by its id.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pyspark.sql import SparkSession

from sqlrag.spark import build, register, search
from sqlrag.spark.folder import Folder
from sqlrag.spark.manifest import Manifest
from tests.conftest import PASSAGES


def processes(mark: str) -> Iterator[tuple[int, str]]:
    """Yield the ids and command lines of the cluster's processes."""
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark.encode() in Path("/proc", name, "environ").read_bytes():
                yield int(name), Path("/proc", name, "cmdline").read_text(encoding="utf-8")


def python_workers(mark: str, open_file: str) -> list[int]:
    """Return the Python workers that have a file open whose name has this in it."""
    found = []
    for number, command in processes(mark):
        with contextlib.suppress(OSError):
            files = [os.readlink(f"/proc/{number}/fd/{fd}") for fd in os.listdir(f"/proc/{number}/fd")]
            if "pyspark" in command and any(open_file in file for file in files):
                found.append(number)
    return found


def executors(mark: str) -> list[int]:
    """Return the executors, which are Java processes."""
    return [number for number, command in processes(mark) if "CoarseGrainedExecutorBackend" in command]


def disturbed(work: Callable[[], object], victims: Callable[[], list[int]]) -> tuple[object, bool]:
    """Run something, and kill one process as soon as there is one; return the result, and whether one was killed."""
    killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        while not killed and not done.is_set():
            for victim in victims()[:1]:
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
            time.sleep(0.02)

    watcher = threading.Thread(target=kill)
    watcher.start()
    try:
        return work(), bool(killed)
    finally:
        done.set()
        watcher.join()


def main() -> None:
    master, folder, mark = sys.argv[1:]
    spark = (
        SparkSession.builder.master(master)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.memory", "512m")
        .config("spark.executor.memory", "512m")
        .config("spark.executorEnv.SQLRAG_MARK", mark)
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.excludeOnFailure.enabled", "false")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    passages = [json.loads(line) for line in PASSAGES.read_text(encoding="utf-8").splitlines()]
    rows = [(place, one["text"], one["year"]) for place, one in enumerate(passages)]
    frame = spark.createDataFrame(rows, "id BIGINT, body STRING, year INT")
    index = f"{folder}/index"

    def made() -> object:
        return build(frame, index, text="body", key="id", filters=["year"], shards=4)

    change, build_killed = disturbed(made, lambda: python_workers(mark, "sqlrag-shard-"))
    manifest = Manifest.read(Folder(index))
    register(spark, index)
    texts = {row.source_id: row.text for row in spark.table("chunks").collect()}
    questions = [f"{one['title']}: what is it about?" for one in passages]

    def answers() -> list[tuple]:
        found = search(spark, questions, top_k=8, top_n=2).orderBy("question", "rank_after")
        return [(row.question, row.rank_after, row.id, round(row.score, 5)) for row in found.collect()]

    undisturbed = answers()
    again, worker_killed = disturbed(answers, lambda: python_workers(mark, "/shards/"))
    third, executor_killed = disturbed(answers, lambda: executors(mark))
    (row,) = spark.sql("SELECT text FROM search('chunks', 'how do bees find food?', 25, 1)").collect()
    spark.stop()
    print(json.dumps({
        "added": change.added, "shards": len(manifest.shards), "rows": sum(one.rows for one in manifest.shards),
        "files": len(os.listdir(f"{index}/shards")), "texts": texts == {row[0]: row[1] for row in rows},
        "answers": len(undisturbed), "same after a worker": again == undisturbed,
        "same after an executor": third == undisturbed,
        "killed": [build_killed, worker_killed, executor_killed], "text": row.text,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
