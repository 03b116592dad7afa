"""A server of the passages on each engine, in a process of its own, as people run it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest

pytest.importorskip("psycopg", reason='psycopg is not here: pip install "psycopg[binary]"')

import psycopg

from sqlrag.cli.serve_database import PASSWORD
from tests.conftest import ENGINES

SECRET = "only-for-these-tests"


@dataclass
class Served:
    """Where a server listens."""

    engine: str
    url: str
    process: subprocess.Popen

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.url.rpartition(":")[2].partition("/")[0])

    def connect(self, **options):
        """Return a new connection of psycopg's."""
        options = {"password": SECRET, "autocommit": True, "connect_timeout": 20} | options
        return psycopg.connect(self.url, **options)


@contextlib.contextmanager
def serving(path, engine, *options, password=SECRET, descriptors=None):
    """Start a server, which may have so many descriptors; it does not outlive the block."""
    command = [sys.executable, "-m", "sqlrag", "serve", str(path), "--postgres", "--port", "0", "--json", *options]
    environment = {**os.environ, PASSWORD: password} if password else dict(os.environ)
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment
    ) as process:
        try:
            told = json.loads(process.stdout.readline() or process.stderr.read())
            served = Served(engine, told["url"], process)
            served.password = told.get("password")
            yield served
        finally:
            process.kill()


@pytest.fixture(scope="session")
def servers(served_files):
    """A server for each engine, with time enough for a busy machine."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(serving(served_files[name], name, "--time-limit", "60")) for name in ENGINES}


@pytest.fixture
def served(servers, engine):
    """The server of one engine, which is still there after the test."""
    yield servers[engine]
    assert servers[engine].process.poll() is None
    with servers[engine].connect() as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


@pytest.fixture
def client(served):
    """A connection to it."""
    with served.connect() as connection:
        yield connection


@pytest.fixture
def hasty(served):
    """A connection whose statements are stopped after a second."""
    with served.connect(options="-c statement_timeout=1s") as connection:
        yield connection


@pytest.fixture(scope="session")
def psql():
    """Run psql's commands; return its output, unaligned, and fail where it does."""
    program = shutil.which("psql")
    if program is None:
        pytest.skip("psql is not here: apt-get install postgresql-client")

    def run(served, *commands, check=True, **environment):
        options = [option for command in commands for option in ("-c", command)]
        ran = subprocess.run(
            [program, "-X", "-A", "-t", *options, served.url],
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "PGPASSWORD": SECRET, "PGCLIENTENCODING": "UTF8", **environment},
            timeout=60,
            check=False,
        )
        assert not check or "ERROR" not in ran.stderr, ran.stderr
        return ran.stdout if check else ran.stderr

    return run
