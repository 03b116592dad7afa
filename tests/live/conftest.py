"""A SQLite file with two clients: one that knows nothing of sqlrag, and sqlrag."""

from __future__ import annotations

import contextlib

import pytest

import sqlrag
from tests.live.writers import Writer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "live.db"


@pytest.fixture(scope="session")
def client():
    """A process that does not know sqlrag; it takes longer to start than a test."""
    with contextlib.closing(Writer()) as writer:
        yield writer


@pytest.fixture
def write(path, client):
    """The client that does not know sqlrag, with the file open."""
    client.open(path)
    yield client
    client.open(":memory:")


@pytest.fixture
def db(path, write):
    """A database with sqlrag; the writer is there before."""
    with sqlrag.connect(path) as db:
        db.execute("PRAGMA synchronous = off")
        yield db
