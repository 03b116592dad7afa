"""Asking a model over HTTP: retries, backoff and rate limits; answers that are checked before they are used."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlrag.errors import InputError, ServerError
from sqlrag.models.stopping import current_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Endpoint"]

_TRIES = 6
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 60.0
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_MOST_BYTES = 256 << 20
"""Of an answer: 2,048 vectors of 4,096 numbers in JSON take 200 MB."""


@dataclass
class Endpoint:
    """An address that answers POST requests with JSON.

    `key` is sent as a bearer token, and stands in no error. `seconds` is how long one answer may take, and `rate` how
    many requests a minute are sent at most.
    """

    url: str
    key: str = field(default="", repr=False)
    seconds: float = 60.0
    rate: float | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise InputError(f"{self.url!r} is no address of an endpoint: it is https://HOST/…, without a password")
        if parts.scheme == "http" and self.key and not _is_loopback(parts.hostname):
            raise InputError(
                f"{self.url!r} would send your key unencrypted: it takes https:// or this machine's address"
            )
        self.host = parts.netloc
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._lock = threading.Lock()
        self._next = 0.0
        self.requests = 0

    def ask(self, payload: Mapping[str, Any], read: Callable[[Any], Any]) -> Any:
        """Send a payload, and return `read(answer)`.

        What may be over soon is tried again, after the time that the server names or a growing one: a limit of
        requests, a fault of the server, a broken connection, and an answer with which `read` raises ValueError. Raises
        ServerError with what the server said last, and InputError if it refuses the request itself.
        """
        said, wait = "", 0.0
        for attempt in range(_TRIES):
            if attempt:
                self._wait(wait)
            wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
            try:
                return read(self._once(payload))
            except urllib.error.HTTPError as error:
                said = f"{error.code}: {_message(error)}"
                if error.code not in _AGAIN:
                    raise self._refused(error.code, said) from None
                named = error.headers.get("Retry-After", "")
                wait = min(_LONGEST_WAIT, float(named)) if named.replace(".", "", 1).isdigit() else wait
            except (OSError, http.client.HTTPException) as error:
                said = str(getattr(error, "reason", "") or error) or type(error).__name__
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                said = f"an answer that is not as it should be ({error})"
        raise ServerError(f"{self.host} did not answer in {_TRIES} tries; the last time: {self._without_key(said)}")

    def _once(self, payload: Mapping[str, Any]) -> Any:
        if self.rate:
            with self._lock:
                now = time.monotonic()
                at = max(now, self._next)
                self._next = at + 60.0 / self.rate
            self._wait(at - now)
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "sqlrag"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.url, json.dumps(payload).encode(), headers)  # noqa: S310 - checked above
        with self._lock:
            self.requests += 1
        with self._opener.open(request, timeout=self.seconds) as answer:
            content = answer.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        return json.loads(content)

    def _refused(self, code: int, said: str) -> Exception:
        remedy = {
            401: ": is the key in the environment the right one?",
            403: ": may this key use the model?",
            404: ": is the name of the model, and the address, right?",
        }.get(code, "")
        return InputError(f"{self.host} refuses the request, {self._without_key(said)}{remedy}")

    def _without_key(self, said: str) -> str:
        return said.replace(self.key, "…") if self.key else said

    @staticmethod
    def _wait(seconds: float) -> None:
        """Wait, unless the statement is stopped meanwhile."""
        until = time.monotonic() + seconds
        stop = current_stop()
        while (rest := until - time.monotonic()) > 0:
            stop.check()
            time.sleep(min(0.1, rest))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: it would send the texts to another address than the one that was named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _message(error: urllib.error.HTTPError) -> str:
    """Return what an answer says of an error, in a line."""
    try:
        content = error.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        content = ""
    try:
        found = json.loads(content)
        found = found.get("error", found) if isinstance(found, dict) else found
        for name in ("message", "detail", "error"):
            if isinstance(found, dict) and isinstance(found.get(name), str):
                found = found[name]
    except ValueError:
        found = content
    text = " ".join(str(found).split())
    return text[:200] or str(error.reason)
