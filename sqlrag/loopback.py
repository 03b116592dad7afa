"""HTTP on this machine alone, for those who have a token: what `sqlrag mcp --http` and `sqlrag serve --http` share.

Anybody's web page can make a browser send requests to 127.0.0.1, under a name of its own (DNS rebinding): so a request
needs the token, and has no other Host and Origin than this machine's
(https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning). No answer has a CORS
header: a page of another origin reads nothing.
"""

from __future__ import annotations

import hmac
import json
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LOOPBACK", "OnThisMachine", "Problem", "listening", "serve"]

LOOPBACK = "127.0.0.1"

_ANSWERED_BEFORE = "ASGI callable returned without completing response."
"""What uvicorn says of a request that it has refused before the application answers."""

_MOST_HEADERS = 64
"""A browser sends some twenty. Their bytes are limited to 64 kB by the parser."""


class Problem(Response):  # type: ignore[misc]  # checked without the extra, too
    """An error as JSON (https://www.rfc-editor.org/rfc/rfc9457): `title` names the status, `detail` says what to do."""

    media_type = "application/problem+json"

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        title = HTTPStatus(status).phrase
        problem = {"type": "about:blank", "title": title, "status": status, "detail": " ".join(detail.split())}
        super().__init__(json.dumps(problem), status, headers)


def listening(port: int) -> socket.socket:
    """Return a socket that listens on this machine. `port`: 0 takes any free one. Raises OSError for one taken."""
    listener = socket.create_server((LOOPBACK, port))
    # asyncio sets it on sockets that it makes itself; without it an answer waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(app: ASGIApp, listener: socket.socket, token: str) -> None:
    """Answer those who have the token, until it is stopped."""
    # h11: the same limits and answers wherever it runs. What a stranger sends wrong is no line in a log.
    config = uvicorn.Config(
        OnThisMachine(app, token, listener.getsockname()[1]),
        http="h11",
        ws="none",
        lifespan="auto",
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_is_ours)
    uvicorn.Server(config).run(sockets=[listener])


def _is_ours(record: logging.LogRecord) -> bool:
    """Tell whether a line of the log is not about what a stranger sent: uvicorn stumbles over its own second answer."""
    error = record.exc_info[1] if record.exc_info else None
    return record.msg != _ANSWERED_BEFORE and not isinstance(error, h11.LocalProtocolError)


class OnThisMachine:
    """An ASGI application that answers those alone who send `Authorization: Bearer TOKEN`, to this machine's names."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._hosts = {f"{name}:{port}".encode() for name in (LOOPBACK, "localhost")}
        self._origins = {b"http://" + name for name in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        refusal = self._refusal(scope["headers"]) if scope["type"] == "http" else None

        async def send_once(message: Message) -> None:
            # Who sends what is no HTTP behind a request has been answered that before the request is.
            with suppress(h11.LocalProtocolError):
                await send(message)

        await (refusal or self._app)(scope, receive, send_once)

    def _refusal(self, headers: list[tuple[bytes, bytes]]) -> Response | None:
        """Return the answer to who may not ask; None to who may."""
        if len(headers) > _MOST_HEADERS:
            return Problem(431, f"{len(headers)} headers: send at most {_MOST_HEADERS}")
        sent: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            sent.setdefault(name, []).append(value)
        tokens: list[Any] = sent.get(b"authorization", [])
        if len(tokens) != 1 or not hmac.compare_digest(tokens[0], self._expected):
            detail = "the token is missing or wrong: send the header Authorization: Bearer TOKEN"
            return Problem(401, detail, {"WWW-Authenticate": "Bearer"})
        hosts = sent.get(b"host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            names = " or ".join(sorted(host.decode() for host in self._hosts))
            return Problem(421, f"the header Host names another machine: ask {names}")
        if not self._origins.issuperset(origin.lower() for origin in sent.get(b"origin", [])):
            return Problem(403, "the header Origin names another site: its pages may not ask")
        return None
