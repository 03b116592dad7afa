"""HTTP on this machine alone, for clients with a token: what `sqlrag mcp --http` and `sqlrag serve --http` share.

Any web page can make a browser send requests to 127.0.0.1, under a host name of the page's own (DNS rebinding). So each
request must have the token, and its Host and Origin must be this machine's
(https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning). No answer has a CORS
header, so a page of another origin cannot read it.
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
from sqlrag.serve.sessions import ENTRANCE, Sessions

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BODY_BYTES", "BODY_SECONDS", "LOOPBACK", "OnThisMachine", "Problem", "listening", "serve"]

LOOPBACK = "127.0.0.1"

CONNECTIONS = 256
"""Connections at a time; fewer if the process may not have enough descriptors."""

HEAD_SECONDS = 10.0
"""Seconds for the head of a request, from the start of its connection or the end of the answer before it."""

BODY_SECONDS = 10.0
"""Seconds for the body of a request, from the end of its head."""

BODY_BYTES = 1_000_000
"""Bytes of a body. The longest text that a function takes has 100,000 characters."""

ANSWER_SECONDS = 30.0
"""Seconds for a client to read an answer."""

_MOST_HEADERS = 64
"""Headers of a request; a browser sends about twenty. The parser limits their bytes to 64 kB."""

_BACKLOG = 128
"""Connections that the system keeps until they are accepted."""

_STOP_SECONDS = 1
"""Seconds after Ctrl-C in which running requests may still be answered."""

_ANSWERED_BEFORE = "ASGI callable returned without completing response."
"""What uvicorn logs if it has refused a request before the application answers."""


class Problem(Response):  # type: ignore[misc]  # checked without the extra, too
    """An error as JSON (https://www.rfc-editor.org/rfc/rfc9457): `title` names the status, `detail` the remedy."""

    media_type = "application/problem+json"

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        title = HTTPStatus(status).phrase
        problem = {"type": "about:blank", "title": title, "status": status, "detail": " ".join(detail.split())}
        super().__init__(json.dumps(problem), status, headers)


def listening(port: int) -> socket.socket:
    """Return a socket that listens on this machine. `port`: 0 takes any free one. Raises OSError if it is taken."""
    listener = socket.create_server((LOOPBACK, port), backlog=_BACKLOG)
    # asyncio sets this on sockets that it makes itself. Without it, an answer waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(
    app: ASGIApp,
    listener: socket.socket,
    token: str,
    *,
    ready: Callable[[], None],
    end: Callable[[], None],
    sessions: Sessions | None = None,
) -> None:
    """Answer clients that have the token until the server is stopped, and browsers that have a session.

    `ready` is called when the server listens and Ctrl-C ends it in good order; `end`, which ends what still runs, when
    it has been stopped.
    """
    # h11 has the same limits and answers everywhere. Malformed requests are not logged.
    config = uvicorn.Config(
        OnThisMachine(app, token, listener.getsockname()[1], sessions),
        http=_Connection,
        ws="none",
        lifespan="auto",
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        limit_concurrency=room(CONNECTIONS) + 1,  # which _Connection never lets them reach
        # asyncio accepts so many connections at a time. Up to Python 3.12 at least, it logs a traceback for each of
        # them if there is no descriptor left.
        backlog=1,
    )
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_is_ours)
    _Server(config, ready, end).run(sockets=[listener])


def _is_ours(record: logging.LogRecord) -> bool:
    """Tell whether a log record is about an error of the server's, not about a request that uvicorn has refused."""
    error = record.exc_info[1] if record.exc_info else None
    return record.msg != _ANSWERED_BEFORE and not isinstance(error, h11.LocalProtocolError)


class _Connection(H11Protocol):  # type: ignore[misc]  # checked without the extra, too
    """A connection with time limits: for a request's head, for its body, and for reading the answer.

    When there are too many connections, a new one takes the place of the oldest on which no request with the token
    runs; connections that have never shown the token go first. `is_owner`: the token has been shown.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Accept the connection, if need be in the place of another one."""
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
        """End the connection without reading or sending the rest."""
        self._is_ended = True
        self.transport.abort()

    def look(self, now: float) -> None:
        """End the connection if its client has been too slow. `now`: `time.monotonic()`."""
        awaited = self._awaited_now()
        if awaited != self._awaited:
            self._awaited, self._since = awaited, now
        elif awaited is not None and now - self._since > _PATIENCE[awaited[0]]:
            self.end()

    def shutdown(self) -> None:
        """End the connection when its request is answered, because the server ends."""
        with suppress(h11.LocalProtocolError):  # an error has ended it already
            super().shutdown()

    def _is_asking(self) -> bool:
        return bool(self.is_owner and self.cycle is not None and not self.cycle.response_complete)

    def _awaited_now(self) -> tuple[str, Any] | None:
        """Return what the client is to do next, and for which request; None if it has nothing to do."""
        if self.transport.get_write_buffer_size():
            return "answer", self.cycle
        if self.conn.their_state is h11.SEND_BODY:
            return "body", self.cycle
        if self.conn.their_state is h11.IDLE or self.transport.is_closing():
            return "head", self.cycle
        return None


_PATIENCE = {"head": HEAD_SECONDS, "body": BODY_SECONDS + 2, "answer": ANSWER_SECONDS}
"""Seconds for each. A body that is late is answered with 408 first."""


class _Server(uvicorn.Server):  # type: ignore[misc]  # checked without the extra, too
    """A server that checks its connections' time limits, and that Ctrl-C ends whatever runs."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], end: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready, self._end = ready, end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, with a longer backlog than the one that asyncio was given."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_BACKLOG)  # asyncio has set it to `config.backlog`
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Check the connections once a second; return whether to end. Called ten times a second."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                connection.look(time.monotonic())
        return bool(await super().on_tick(counter))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests finish for a second, then end what they wait for: their threads cannot be cancelled."""
        asyncio.get_running_loop().call_later(_STOP_SECONDS, self._end)
        await super().shutdown(sockets)
        self._end()
        for connection in list(self.server_state.connections):
            connection.end()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End when all requests are answered; at a second Ctrl-C at once, as no data can be lost here."""
        if self.should_exit and sig == signal.SIGINT:
            self._end()
            os._exit(128 + sig)
        super().handle_exit(sig, frame)


class OnThisMachine:
    """An ASGI application that refuses requests without the token, or with another machine's Host or Origin.

    It hands on the others to `app` when their whole body has arrived. `sessions`: the browsers that may ask without the
    token; None where there is no page.
    """

    def __init__(self, app: ASGIApp, token: str, port: int, sessions: Sessions | None = None) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._hosts = {f"{name}:{port}".encode() for name in (LOOPBACK, "localhost")}
        self._origins = {b"http://" + name for name in self._hosts}
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_once(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                there = {name.lower() for name, _ in headers}
                message["headers"] = headers + [one for one in _EVERYWHERE if one[0] not in there]
            # If garbage follows a valid request, uvicorn has already answered 400.
            with suppress(h11.LocalProtocolError):
                await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            sent.setdefault(name, []).append(value)
        refusal: Response | None
        if self._sessions is not None and self._enters(scope, sent):
            refusal, receive = await _whole(scope, receive)
            refusal = refusal or await self._entered(scope, receive, sent, self._sessions)
        elif (refusal := self._refusal(scope, sent)) is None:
            scope["state"].pop("connection").is_owner = True
            refusal, receive = await _whole(scope, receive)
        await (refusal or self._app)(scope, receive, send_once)

    def _refusal(self, scope: Scope, sent: Mapping[bytes, list[bytes]]) -> Response | None:
        """Return the refusal of a request, None if it is allowed."""
        if (number := len(scope["headers"])) > _MOST_HEADERS:
            return Problem(431, f"{number} headers: send at most {_MOST_HEADERS}")
        tokens: list[Any] = sent.get(b"authorization", [])
        if not tokens and self._sessions is not None:
            return self._elsewhere(sent) or self._without_token(scope, sent, self._sessions)
        if len(tokens) != 1 or not hmac.compare_digest(tokens[0], self._expected):
            return _no_token()
        return self._elsewhere(sent)

    def _elsewhere(self, sent: Mapping[bytes, list[bytes]]) -> Response | None:
        """Return the refusal of a request that was meant for another machine, or comes from another site's page."""
        hosts = sent.get(b"host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            names = " or ".join(sorted(host.decode() for host in self._hosts))
            return Problem(421, f"the header Host names another machine: ask {names}")
        if not self._origins.issuperset(origin.lower() for origin in sent.get(b"origin", [])):
            return Problem(403, "the header Origin names another site: its pages may not ask")
        return None

    def _without_token(self, scope: Scope, sent: Mapping[bytes, list[bytes]], sessions: Sessions) -> Response | None:
        """Return the refusal of a browser without a session; it is a page where a person will read it."""
        if sessions.allows(scope["method"], scope["path"], sent):
            return None
        if scope["path"] == "/" and b"text/html" in b",".join(sent.get(b"accept", [])):
            query = scope["query_string"].decode("ascii", "replace")
            return sessions.refusal("This page needs a key.", f"/?{query}" if query else "/")
        return _no_token()

    def _enters(self, scope: Scope, sent: Mapping[bytes, list[bytes]]) -> bool:
        """Tell whether a browser asks to be let in, at this server and not from another site's page."""
        is_asked = scope["path"] == ENTRANCE and b"authorization" not in sent
        return is_asked and len(scope["headers"]) <= _MOST_HEADERS and self._elsewhere(sent) is None

    async def _entered(
        self, scope: Scope, receive: Receive, sent: Mapping[bytes, list[bytes]], sessions: Sessions
    ) -> Response:
        if scope["method"] == "GET":
            return sessions.by_link(scope["query_string"], sent)
        if scope["method"] == "POST":
            return sessions.by_token(await Request(scope, receive).body())
        return Problem(405, "GET and POST are for this path", {"Allow": "GET, POST"})


_EVERYWHERE = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
)
"""Headers of every answer: no page of another site can make anything of one, or learns an address from it.

With `no-referrer` a browser would send a form of our own with the header `Origin: null`.
"""


def _no_token() -> Problem:
    detail = "the token is missing or wrong: send the header Authorization: Bearer TOKEN"
    return Problem(401, detail, {"WWW-Authenticate": "Bearer"})


async def _whole(scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
    """Read the body of a request. Return the refusal if it is too long or too late, and a `receive` that gives it."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if int(length) > BODY_BYTES:  # h11 has checked that it is a number
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
    except ClientDisconnect:  # the client does not read this
        refusal = Problem(400, "the body did not come to its end")
    messages: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return refusal, again


def _too_long() -> Problem:
    return Problem(413, f"the body is longer than {BODY_BYTES:,} bytes")
