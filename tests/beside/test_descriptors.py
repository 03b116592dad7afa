"""A process that has no descriptor left: one error of sqlrag's, and the next call goes on."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sqlrag
from tests.conftest import database_path

pytest.importorskip("resource", reason="this system has no limit on descriptors")

SYNC = """
import contextlib, os, resource, sys, sqlrag
with sqlrag.connect(sys.argv[1], sync_rows=0) as db:
    db.execute("INSERT INTO note VALUES (2, 'a kettle')").fetchall()
    db.embedder.encode_document(["loaded"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    held = []
    with contextlib.suppress(OSError):
        while True:
            held.append(os.dup(0))
    try:
        db.sync()
    except sqlrag.Error as error:
        print(error)
    for descriptor in held:
        os.close(descriptor)
    print(db.sync().added)
"""


def test_no_descriptor_is_left(engine, tmp_path):
    """The modules of `sync` are imported by its first call, which finds no descriptor to open them."""
    path = database_path(tmp_path, engine)
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body VARCHAR)").fetchall()
        db.execute("INSERT INTO note VALUES (1, 'the ferry was late')").fetchall()
        db.create_index("notes", "note", "body")
    done = subprocess.run([sys.executable, "-c", SYNC, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, added = done.stdout.splitlines()
    assert "no file descriptor left" in said
    assert added == "1"
