"""The functions of a connection whose models are the server's: each is a CALL, and its SQL runs here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import apsw

import sqlrag
from sqlrag.database import Database, connect
from sqlrag.engines.base import Engine, engine_of
from sqlrag.engines.functions import DEFAULT_RERANK_LIMIT, Functions
from sqlrag.errors import Error, ModelFileError, ServerError, TimeLimitError, UnknownModelError
from sqlrag.process.database_paths import check_path
from sqlrag.serve.model_server.client import Client, QueryError
from sqlrag.serve.model_server.socket_path import model_name, socket_path
from sqlrag.store.encoders import Encoders

__all__ = ["ServedFunctions", "connect_served", "runner"]

_OWN_MODELS = (ServerError, TimeLimitError, UnknownModelError, ModelFileError)
"""What a server may answer where this process's own models can still do it."""


def connect_served(path: str, *, read_only: bool = True, reranker: str | None = None) -> Database:
    """Open a database that exists, as `sqlrag.connect`; a server that runs, of this version, does the models' work.

    With `reranker` only one that was started with the same. Where it breaks off, this process's own models go on.
    """
    check_path(path, must_exist=True)
    client = _running(reranker) if engine_of(path, None) == "sqlite" else None
    if client is None:
        return connect(path, read_only=read_only, must_exist=True, reranker=reranker)
    from sqlrag.engines.sqlite.engine import SQLiteEngine

    engine = SQLiteEngine(
        path,
        Encoders(None, reranker),
        read_only=read_only,
        must_exist=True,
        rerank_limit=DEFAULT_RERANK_LIMIT,
        nprobe=None,
        score_cache=None,
        make_functions=partial(ServedFunctions, client),
    )
    return _ServedDatabase(engine, client)


class _ServedDatabase(Database):
    """A database that leaves the server when it is closed."""

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
    """Return a connection to the server, None where none runs that answers as this process would."""
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


class ServedFunctions(Functions):
    """The SQL functions of one connection, run by a server; by `Functions` once it has broken off."""

    def __init__(self, client: Client, indexes: Any, *arguments: Any) -> None:
        super().__init__(indexes, *arguments)
        self._client: Client | None = client
        self._begun = False
        self._depth = 0
        client.run = runner(indexes.connection)

    def begin_statement(self) -> None:
        """Start counting the pairs of a new statement."""
        super().begin_statement()
        self._begun = False

    def embed(self, text: object, model: object = None) -> Any:
        """Return the vector of a query."""
        return self._scalar("embed", super().embed, text, model)

    def embed_document(self, text: object, model: object = None) -> Any:
        """Return the vector of a passage."""
        return self._scalar("embed_document", super().embed_document, text, model)

    def token_count(self, text: object, model: object = None) -> Any:
        """Return the number of tokens of a text."""
        return self._scalar("token_count", super().token_count, text, model)

    def rerank_score(self, query: object, text: object, model: object = None) -> Any:
        """Return the relevance of a text to a query."""
        return self._scalar("rerank_score", super().rerank_score, query, text, model)

    def vector_top_k(self, *arguments: Any) -> list[Any]:
        """Return `(id, distance, rank)` of the k nearest chunks."""
        return self._served("vector_top_k", super().vector_top_k, *arguments)

    def text_top_k(self, *arguments: Any) -> list[Any]:
        """Return `(id, score, rank)` of the k best chunks by BM25."""
        return self._served("text_top_k", super().text_top_k, *arguments)

    def hybrid_top_k(self, *arguments: Any) -> list[Any]:
        """Return `(id, score, rank)` of the k best chunks by both."""
        return self._served("hybrid_top_k", super().hybrid_top_k, *arguments)

    def search(self, *arguments: Any) -> list[Any]:
        """Return rows of `SEARCH_COLUMNS`, best first."""
        return self._served("search", super().search, *arguments)

    def chunk_text(self, *arguments: Any) -> list[Any]:
        """Return `(ordinal, start_char, end_char, text)` of the chunks of a text."""
        return self._served("chunk_text", super().chunk_text, *arguments)

    def sqlrag_info(self) -> list[Any]:
        """Return a row of `INFO_COLUMNS` for each index."""
        return self._served("sqlrag_info", super().sqlrag_info)

    def _scalar(self, name: str, own: Callable[..., Any], *arguments: Any) -> Any:
        answer = self._served(name, lambda *given: [(own(*given),)], *arguments)
        return answer[0][0]

    def _served(self, name: str, own: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
        if self._client is None or self.longest_text is not None:  # a confined database's limit is its own
            return own(*arguments)
        self._depth += 1
        try:
            if not self._begun and self._depth == 1:
                self._client.begin()
                self._begun = True
            return self._client.call(name, *arguments)
        except _OWN_MODELS as error:
            if isinstance(error, ServerError):
                self._client = None
            return own(*arguments)
        finally:
            self._depth -= 1


def runner(connection: apsw.Connection) -> Callable[[str, Any], tuple[int, Sequence[Sequence[Any]]]]:
    """Return what runs a statement of the server's on a connection: one that reads, alone."""

    def only_reads(cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
        if not cursor.is_readonly:
            raise ServerError("the model server asked for a statement that writes")
        return True

    def run(sql: str, bindings: Any) -> tuple[int, Sequence[Sequence[Any]]]:
        cursor = connection.cursor()
        cursor.exec_trace = only_reads
        try:
            rows = list(cursor.execute(sql, bindings))
        except ServerError:
            raise
        except apsw.Error as error:
            raise QueryError(getattr(error, "extendedresult", apsw.SQLITE_ERROR), str(error)) from error
        except Error as error:  # of one of our functions that the statement calls
            raise QueryError(apsw.SQLITE_ERROR, str(error)) from error
        except UnicodeDecodeError as error:
            raise ServerError("a text of the database is not UTF-8") from error  # for Functions to say as always
        return (len(rows[0]) if rows else 0), rows

    return run
