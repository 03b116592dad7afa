"""Fixtures of what stands beside a database: other processes that look."""

from __future__ import annotations

import pytest

from tests.beside.locks import Watcher


@pytest.fixture
def watcher():
    """Another process that tells the locks of this one."""
    found = Watcher()
    yield found
    found.close()
