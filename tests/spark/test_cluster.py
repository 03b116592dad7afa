"""A standalone cluster, a master and two workers on loopback, some of whose processes are killed at work."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.spark.conftest import spark_is_here

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def daemon(folder: Path, name: str, *arguments: str, environment: dict):
    """Start a process of Spark's, whose log is a file; it ends with the block."""
    import pyspark

    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    with open(folder / name, "wb") as log:
        process = subprocess.Popen(
            ["bash", str(spark_class), *arguments], stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def appears(path: Path, pattern: str) -> re.Match:
    """Wait until a log has a line."""
    for _ in range(600):
        if found := re.search(pattern, path.read_text(encoding="utf-8", errors="replace")):
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {pattern} in {path.read_text(encoding='utf-8', errors='replace')[-3000:]}")


@pytest.fixture
def master(tmp_path):
    """The address of a cluster."""
    if missing := spark_is_here():
        pytest.skip(missing)
    import pyspark

    environment = os.environ | {
        "SPARK_HOME": str(Path(pyspark.__file__).parent), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_WORKER_DIR": str(tmp_path / "work"), "PYSPARK_PYTHON": sys.executable,
    }  # fmt: skip
    package = "org.apache.spark.deploy"
    arguments = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(daemon(tmp_path, "master", f"{package}.master.Master", *arguments, environment=environment))
        url = appears(tmp_path / "master", r"spark://127\.0\.0\.1:\d+")[0]
        for name in ("worker1", "worker2"):
            worker = [f"{package}.worker.Worker", "-c", "1", "-m", "1g", *arguments, url]
            stack.enter_context(daemon(tmp_path, name, *worker, environment=environment))
        for name in ("worker1", "worker2"):
            appears(tmp_path / name, "Successfully registered with master")
        yield url


def test_processes_that_are_killed(master, tmp_path):
    """A Python worker in a build, one in a query, and an executor: the results are the same, and nothing is twice."""
    program = Path(__file__).parent / "cluster_program.py"
    root = str(program.parents[2])
    environment = os.environ | {
        "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    mark = f"mark-{uuid.uuid4().hex}"
    done = subprocess.run(
        [sys.executable, str(program), master, str(tmp_path), mark],
        capture_output=True, text=True, env=environment, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["killed"] == [True, True, True]
    assert (found["added"], found["rows"], found["shards"], found["texts"]) == (25, 25, 4, True)
    assert found["files"] >= 4  # a task that was tried again may leave one that no version names
    assert (found["answers"], found["same after a worker"], found["same after an executor"]) == (50, True, True)
    assert "honeybee" in found["text"]
