"""A server in a process of its own, and clients with a database."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.serve.model_server.client import Client
from sqlrag.serve.model_server.served_database import runner


@contextmanager
def place():
    """Yield a path for a socket: short, as they have to be (unix(7): 108 bytes), in a folder of mode 0700."""
    folder = tempfile.mkdtemp(prefix="srv", dir="/tmp")
    try:
        yield Path(folder, "s.sock")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serving(path, *options, quiet=False, **environment):
    """Yield the process of a server that answers; `quiet`: nobody reads what it says of its clients."""
    command = [sys.executable, "-m", "sqlrag", "serve", "--socket", str(path), "--json", *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | environment,
    ) as process:
        try:
            assert json.loads(process.stdout.readline())["pid"] == process.pid
            yield process
        finally:
            process.kill()


@contextmanager
def client_of(path, database, **options):
    """Yield a client with a connection to a database."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    load_vec(connection)
    client = Client(path, "test", runner(connection), **options)
    try:
        yield client
    finally:
        client.close()
        with suppress(apsw.Error):
            connection.close()
