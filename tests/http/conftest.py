"""Servers that many tests ask."""

from __future__ import annotations

import pytest

from tests.http.servers import served_both


@pytest.fixture(scope="session")
def servers(served_files):
    """A server of the passages on each engine, whose questions may take two seconds."""
    with served_both(served_files, "--http", "--time-limit", "2") as both:
        for server in both.values():  # the models are loaded by the first question
            with server.client as client:
                for _ in range(5):
                    if client.post("/search", json={"question": "bees"}).status_code == 200:
                        break
        yield both


@pytest.fixture
def server(engine, servers):
    """The server of an engine."""
    return servers[engine]


@pytest.fixture
def client(server):
    """A client of it that has the token."""
    with server.client as client:
        yield client
