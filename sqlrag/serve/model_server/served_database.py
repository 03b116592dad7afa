"""The database of sqlrag's own commands: a model server runs the models, if there is one."""

from __future__ import annotations

from typing import Any

import sqlrag
from sqlrag.database import Database, connect
from sqlrag.engines.base import Engine, engine_of
from sqlrag.engines.options import ConnectionOptions
from sqlrag.errors import ServerError
from sqlrag.process.database_paths import check_path
from sqlrag.serve.model_server.client import Client
from sqlrag.serve.model_server.remote_models import RemoteEncoders, ServerModels
from sqlrag.serve.model_server.socket_path import model_name, socket_path

__all__ = ["connect_served"]


def connect_served(
    path: str,
    *,
    read_only: bool = True,
    reranker: str | None = None,
    embedder: str | None = None,
    backend: str = "onnx",
) -> Database:
    """Open a database that exists, as `sqlrag.connect` does; a server of this version, if one runs, runs the models.

    Given a `reranker`, only a server that was started with the same one does; given an `embedder` or a `backend`, this
    process runs them itself. If the server breaks off, the models of this process go on. Raises what `connect` does.
    """
    check_path(path, must_exist=True)
    own = embedder is not None or backend != "onnx"
    client = None if own or engine_of(path, None) != "sqlite" else _running(reranker)
    if client is None:
        models: dict[str, Any] = {"embedder": embedder, "reranker": reranker, "backend": backend}
        return connect(path, read_only=read_only, must_exist=True, **models)
    from sqlrag.engines.sqlite.engine import SQLiteEngine

    try:
        # No score cache, whose keys say which library computed a score: the server's may be another one.
        options = ConnectionOptions(read_only, must_exist=True)
        engine = SQLiteEngine(path, RemoteEncoders(ServerModels(client), reranker), options)
    except BaseException:
        client.close()
        raise
    return _ServedDatabase(engine, client)


class _ServedDatabase(Database):
    """A database that closes its connection to the server with itself."""

    def __init__(self, engine: Engine, client: Client) -> None:
        super().__init__(engine)
        self._client = client

    def interrupt(self) -> None:
        """Stop the statement that runs, and what the server does for it; may be called from another thread."""
        super().interrupt()
        self._client.cancel()

    def close(self) -> None:
        """Close the database and the connection to the server."""
        super().close()
        self._client.close()


def _running(reranker: str | None) -> Client | None:
    """Return a connection to the server, None if none runs that answers as this process would."""
    try:
        client = Client(socket_path(), "sqlrag command")
    except (OSError, ServerError):
        return None
    try:
        same = client.status().get("reranker") == model_name(reranker)
    except ServerError:
        return None
    if not same or client.server_version != sqlrag.__version__:
        client.close()
        return None
    return client
