"""One server for the tests that do it no harm."""

from __future__ import annotations

import pytest

from tests.serve.clients import client_of, serving, socket_folder


@pytest.fixture
def free_socket():
    """A path for the socket of a server of the test's own."""
    with socket_folder() as path:
        yield path


@pytest.fixture(scope="session")
def server():
    """The path of the socket of a server that runs, however long the tests between two that use it take."""
    with socket_folder() as path, serving(path, "--idle", "86400"):
        yield path


@pytest.fixture(scope="session")
def database(passage_files):
    """A SQLite database of passages."""
    return passage_files["sqlite"]


@pytest.fixture
def client(server, database):
    """A client of the server with that database."""
    with client_of(server, database) as client:
        yield client
