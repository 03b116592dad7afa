"""A SQLite file with two clients: one that knows nothing of sqlrag, and sqlrag."""

from __future__ import annotations

import contextlib

import pytest

import sqlrag
from tests.live.writers import Writer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "live.db"


@pytest.fixture
def write(path):
    """The client that does not know sqlrag."""
    with contextlib.closing(Writer(path)) as writer:
        yield writer


@pytest.fixture
def db(path, write):
    """A database with sqlrag; the writer is there before."""
    with sqlrag.connect(path) as db:
        yield db
