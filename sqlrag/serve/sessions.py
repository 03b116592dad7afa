"""How a browser gets in: by a link that works once, or by the token in a form; then by a cookie.

The token itself never stands in an address, so it is in no history and no list of processes. Cookies of 127.0.0.1 are
sent to every port of it, also by the pages of other servers there: `SameSite` does not look at ports. So a request with
the cookie must come from our own page as well, which browsers say in `Sec-Fetch-Site` and `Origin`
(https://www.w3.org/TR/fetch-metadata/).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.responses import Response

__all__ = ["ENTRANCE", "Sessions"]

ENTRANCE = "/enter"
"""The path of one-time links, and of the form that takes the token."""

_MOST = 64
"""Sessions and links at a time; a new one ends the oldest."""

_SAFE = ("GET", "HEAD")

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}

_FORM = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>sqlrag</title>
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<main><h1>sqlrag</h1>
<p role="status">{why}</p>
<p>Open the link that <code>sqlrag serve DB --http --open</code> prints, or enter the token of this server.</p>
<form method="post" action="{entrance}"><input type="hidden" name="to" value="{to}">
<p><label>Token <input type="password" name="token" required autofocus autocomplete="off"></label>
<button>Enter</button></p></form>
<p><a href="{to}">Try again</a>, if you have been here already and have followed a link from elsewhere.</p></main>"""


class Sessions:
    """The browsers that may ask, and the links that let one in.

    A link works once. If it is used again, by another browser than the first, one of the two is a stranger's: the
    session that began with it ends.
    """

    def __init__(self, token: str, port: int) -> None:
        self._token = token.encode()
        self._cookie = f"sqlrag-{port}"
        self._links: dict[str, tuple[str, str | None]] = {}
        """Where each link leads, and the session that began with it; None while it has not been used."""
        self._sessions: dict[str, None] = {}

    def link(self, url: str, to: str = "/") -> str:
        """Return the address that lets one browser in, and leads it to the path `to`."""
        code = secrets.token_urlsafe()
        self._links[code] = to, None
        _forget_oldest(self._links)
        return f"{url}{ENTRANCE}?{urlencode({'code': code})}"

    def allows(self, method: str, path: str, headers: Mapping[bytes, list[bytes]]) -> bool:
        """Tell whether a request has the cookie of a session and comes from our own page, or from the user."""
        if self._session(headers) is None:
            return False
        site = _only(headers, b"sec-fetch-site")
        if site in {None, b"same-origin"} or (site == b"none" and method in _SAFE):
            # Every browser names the origin of a request that is neither GET nor HEAD. It was compared before this.
            return method in _SAFE or _only(headers, b"origin") is not None
        # A link on another page may lead to ours. That page cannot read the answer.
        return path == "/" and method in _SAFE and _only(headers, b"sec-fetch-dest") == b"document"

    def by_link(self, query: bytes, headers: Mapping[bytes, list[bytes]]) -> Response:
        """Answer a one-time link."""
        code = parse_qs(query.decode("ascii", "replace")).get("code", [""])[0]
        known = next((one for one in self._links if hmac.compare_digest(one.encode(), code.encode())), None)
        if known is None:
            return self.refusal("This link is not one of this server's: was the server started again?")
        to, begun = self._links[known]
        if begun is None:
            session = self._new()
            self._links[known] = to, session
            return self._entered(to, session)
        if begun == self._session(headers):
            return self._entered(to, begun)
        self._sessions.pop(begun, None)
        return self.refusal(
            "This link has been used before. It works once, so the browser that it has let in has been shut out."
        )

    def by_token(self, body: bytes) -> Response:
        """Answer the form."""
        given = parse_qs(body.decode("utf-8", "replace"))
        to = given.get("to", ["/"])[0]
        if not to.startswith("/?"):
            to = "/"
        if hmac.compare_digest(given.get("token", [""])[0].strip().encode(), self._token):
            return self._entered(to, self._new())
        return self.refusal("The token is wrong.", to)

    def refusal(self, why: str, to: str = "/") -> Response:
        """Return the page that asks for the token."""
        page = _FORM.format(why=escape(why), entrance=ENTRANCE, to=escape(to))
        return Response(page, 401, {**_HEADERS, "WWW-Authenticate": "Bearer"}, "text/html")

    def _new(self) -> str:
        session = secrets.token_urlsafe()
        self._sessions[session] = None
        _forget_oldest(self._sessions)
        return session

    def _entered(self, to: str, session: str) -> Response:
        """Set the cookie and go on to the page.

        The page goes there by itself: a redirect of a request that began elsewhere would have no `SameSite` cookie. The
        history keeps the page in place of the link.
        """
        page = f'<!doctype html><title>sqlrag</title><meta http-equiv="refresh" content="0; url={escape(to)}">'
        answer = Response(page, 200, {**_HEADERS, "Referrer-Policy": "no-referrer"}, "text/html")
        answer.set_cookie(self._cookie, session, httponly=True, samesite="strict")
        return answer

    def _session(self, headers: Mapping[bytes, list[bytes]]) -> str | None:
        """Return the session of a request's cookie, None if it has none of this server's."""
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(b"; ".join(headers.get(b"cookie", [])).decode("ascii", "replace"))
        except CookieError:
            return None
        given = cookies[self._cookie].value.encode() if self._cookie in cookies else b""
        return next((one for one in self._sessions if hmac.compare_digest(one.encode(), given)), None)


def _only(headers: Mapping[bytes, list[bytes]], name: bytes) -> bytes | None:
    values = headers.get(name, [])
    return b", ".join(values).lower() if values else None


def _forget_oldest(kept: dict[str, Any]) -> None:
    if len(kept) > _MOST:
        kept.pop(next(iter(kept)))
