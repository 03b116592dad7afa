"""HTTP on this machine alone, for those who have a token: what `sqlrag mcp --http` and `sqlrag serve --http` share.

Anybody's web page can make a browser send requests to 127.0.0.1, under a name of its own (DNS rebinding): so a request
needs the token, and has no other Host and Origin than this machine's
(https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning). No answer has a CORS
header: a page of another origin reads nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from sqlrag.process.descriptors import room

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BODY_BYTES", "BODY_SECONDS", "LOOPBACK", "OnThisMachine", "Problem", "listening", "serve"]

LOOPBACK = "127.0.0.1"

CONNECTIONS = 256
"""At once; of fewer where the process may have fewer descriptors."""

HEAD_SECONDS = 10.0
"""For a request's head, from the first byte of its connection or the end of the answer before it."""

BODY_SECONDS = 10.0
"""For a request's body, from the end of its head."""

BODY_BYTES = 1_000_000
"""The longest text that a function takes has 100,000 characters."""

ANSWER_SECONDS = 30.0
"""For a client to read an answer."""

_MOST_HEADERS = 64
"""A browser sends some twenty. Their bytes are limited to 64 kB by the parser."""

_BACKLOG = 128
"""Connections that the system keeps until they are taken."""

_STOP_SECONDS = 1
"""For what runs to be answered after Ctrl-C."""

_ANSWERED_BEFORE = "ASGI callable returned without completing response."
"""What uvicorn says of a request that it has refused before the application answers."""


class Problem(Response):  # type: ignore[misc]  # checked without the extra, too
    """An error as JSON (https://www.rfc-editor.org/rfc/rfc9457): `title` names the status, `detail` says what to do."""

    media_type = "application/problem+json"

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        title = HTTPStatus(status).phrase
        problem = {"type": "about:blank", "title": title, "status": status, "detail": " ".join(detail.split())}
        super().__init__(json.dumps(problem), status, headers)


def listening(port: int) -> socket.socket:
    """Return a socket that listens on this machine. `port`: 0 takes any free one. Raises OSError for one taken."""
    listener = socket.create_server((LOOPBACK, port), backlog=_BACKLOG)
    # asyncio sets it on sockets that it makes itself; without it an answer waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(app: ASGIApp, listener: socket.socket, token: str, end: Callable[[], None]) -> None:
    """Answer those who have the token, until it is stopped; `end` is called then and ends what still runs."""
    # h11: the same limits and answers wherever it runs. What a stranger sends wrong is no line in a log.
    config = uvicorn.Config(
        OnThisMachine(app, token, listener.getsockname()[1]),
        http=_Connection,
        ws="none",
        lifespan="auto",
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        limit_concurrency=room(CONNECTIONS) + 1,  # _Connection sees to it that there are no more
        # asyncio takes so many connections at a time and, in the Pythons up to 3.12 at least, logs a traceback for each
        # of them that there is no descriptor for.
        backlog=1,
    )
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_is_ours)
    _Server(config, end).run(sockets=[listener])


def _is_ours(record: logging.LogRecord) -> bool:
    """Tell whether a line of the log is not about what a stranger sent: uvicorn stumbles over its own second answer."""
    error = record.exc_info[1] if record.exc_info else None
    return record.msg != _ANSWERED_BEFORE and not isinstance(error, h11.LocalProtocolError)


class _Connection(H11Protocol):  # type: ignore[misc]  # checked without the extra, too
    """A connection that ends: a head, a body and the reading of an answer take so long at most.

    One more than there is room for takes the place of one that no question of the token's owner runs on: of a stranger
    before an owner, of the oldest before the younger. `is_owner`: a request has shown the token.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a connection, if need be in the place of another."""
        self.is_owner = self._is_ended = False
        self._since = time.monotonic()
        self._awaited: tuple[str, Any] | None = None
        self.app_state: dict[str, Any] = {**self.app_state, "connection": self}
        super().connection_made(transport)
        there = [one for one in self.connections if not one._is_ended]  # noqa: SLF001 - of this class
        if len(there) >= self.limit_concurrency:
            idle = [one for one in there if one is not self and not one._is_asking()]  # noqa: SLF001
            min(idle, key=lambda one: (one.is_owner, one._since), default=self).end()  # noqa: SLF001

    def end(self) -> None:
        """End the connection, whatever has not been read or sent."""
        self._is_ended = True
        self.transport.abort()

    def look(self, now: float) -> None:
        """End the connection if what is awaited from its client has not come in time."""
        awaited = self._awaited_now()
        if awaited != self._awaited:
            self._awaited, self._since = awaited, now
        elif awaited is not None and now - self._since > _PATIENCE[awaited[0]]:
            self.end()

    def shutdown(self) -> None:
        """End the connection once it is answered, as the server ends."""
        with suppress(h11.LocalProtocolError):  # it has ended by an error
            super().shutdown()

    def _is_asking(self) -> bool:
        return bool(self.is_owner and self.cycle is not None and not self.cycle.response_complete)

    def _awaited_now(self) -> tuple[str, Any] | None:
        """Return what the client is to do, and for which request."""
        if self.transport.get_write_buffer_size():
            return "answer", self.cycle
        if self.conn.their_state is h11.SEND_BODY:
            return "body", self.cycle
        if self.conn.their_state is h11.IDLE or self.transport.is_closing():
            return "head", self.cycle
        return None


_PATIENCE = {"head": HEAD_SECONDS, "body": BODY_SECONDS + 2, "answer": ANSWER_SECONDS}
"""Seconds; a body that is late is answered with 408 first."""


class _Server(uvicorn.Server):  # type: ignore[misc]  # checked without the extra, too
    """Looks after the connections, and ends with Ctrl-C, whatever runs."""

    def __init__(self, config: uvicorn.Config, end: Callable[[], None]) -> None:
        super().__init__(config)
        self._end = end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_BACKLOG)  # asyncio has told the system the number of `config.backlog`

    async def on_tick(self, counter: int) -> bool:
        """Do what is done ten times a second; tell whether to end."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                connection.look(time.monotonic())
        return bool(await super().on_tick(counter))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let what runs finish for a second, and end it then: threads that wait for it can't be cancelled."""
        asyncio.get_running_loop().call_later(_STOP_SECONDS, self._end)
        await super().shutdown(sockets)
        self._end()
        for connection in list(self.server_state.connections):
            connection.end()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End as soon as all is answered; at a second Ctrl-C at once: nothing is written here that could be lost."""
        if self.should_exit and sig == signal.SIGINT:
            self._end()
            os._exit(128 + sig)
        super().handle_exit(sig, frame)


class OnThisMachine:
    """An ASGI application that answers those alone who send `Authorization: Bearer TOKEN`, to this machine's names.

    Their requests reach the application once they are there as a whole.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._hosts = {f"{name}:{port}".encode() for name in (LOOPBACK, "localhost")}
        self._origins = {b"http://" + name for name in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_once(message: Message) -> None:
            # Who sends what is no HTTP behind a request has been answered that before the request is.
            with suppress(h11.LocalProtocolError):
                await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["headers"])
        if refusal is None:
            scope["state"].pop("connection").is_owner = True
            refusal, receive = await _whole(scope, receive)
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


async def _whole(scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
    """Read the body of a request; return the answer to one that is too long or too late, and what gives the body."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if int(length) > BODY_BYTES:  # h11 has seen that it is a number
        return _too_long(), receive
    body = bytearray()

    async def read() -> Response | None:
        async for part in Request(scope, receive).stream():
            body.extend(part)
            if len(body) > BODY_BYTES:
                return _too_long()
        return None

    refusal: Response | None
    try:
        refusal = await asyncio.wait_for(read(), BODY_SECONDS)
    except asyncio.TimeoutError:  # another class before Python 3.11
        refusal = Problem(408, f"the body did not come within {BODY_SECONDS:g} s")
    except ClientDisconnect:  # nobody reads that
        refusal = Problem(400, "the body did not come to its end")
    messages: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return refusal, again


def _too_long() -> Problem:
    return Problem(413, f"the body is longer than {BODY_BYTES:,} bytes")
