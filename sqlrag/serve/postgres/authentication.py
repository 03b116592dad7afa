"""Sign-in by SCRAM-SHA-256, in which the password is never sent.

RFC 5802 and 7677; https://www.postgresql.org/docs/current/sasl-authentication.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets

from sqlrag.serve.postgres.messages import Body, Wire, decoded, int32, message
from sqlrag.serve.postgres.sqlstate import FatalError

__all__ = ["Password"]

_MECHANISM = "SCRAM-SHA-256"

_ITERATIONS = 4096
"""As PostgreSQL's `scram_iterations`."""

_LARGEST = 4096
"""The most bytes of a message from a client that has not signed in."""


class Password:
    """A password of printable ASCII, kept as the keys that SCRAM needs to check it."""

    def __init__(self, password: str) -> None:
        self._salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), self._salt, _ITERATIONS)
        client_key = _hmac(salted, b"Client Key")
        self._stored_key = hashlib.sha256(client_key).digest()
        self._server_key = _hmac(salted, b"Server Key")

    def ask(self, wire: Wire, user: str) -> None:
        """Have a client prove that it knows the password. Raises FatalError (28P01) if it does not."""
        wire.send(message(b"R", int32(10), _MECHANISM.encode(), b"\0\0"))
        wire.flush()
        body = _answer(wire)
        mechanism, length = body.text(), body.int32()
        if mechanism != _MECHANISM:
            raise FatalError("28000", f"the client wants {mechanism}: this server takes {_MECHANISM}")
        header, bare = _first(decoded(body.take(length)))
        nonce = _attribute(bare, "r") + secrets.token_urlsafe(18)
        server_first = f"r={nonce},s={base64.b64encode(self._salt).decode()},i={_ITERATIONS}"
        wire.send(message(b"R", int32(11), server_first.encode()))
        wire.flush()
        body = _answer(wire)
        final = decoded(body.take(body.left))
        without_proof, _, proof = final.rpartition(",p=")
        signed = f"{bare},{server_first},{without_proof}".encode()
        bound = base64.b64encode(header.encode()).decode()
        if (
            _attribute(without_proof, "c") != bound
            or _attribute(without_proof, "r") != nonce
            or not self._proves(proof, signed)
        ):
            raise FatalError("28P01", f'password authentication failed for user "{user}"')
        signature = base64.b64encode(_hmac(self._server_key, signed))
        wire.send(message(b"R", int32(12), b"v=", signature) + message(b"R", int32(0)))

    def _proves(self, proof: str, signed: bytes) -> bool:
        try:
            given = base64.b64decode(proof, validate=True)
        except (binascii.Error, ValueError):
            return False
        signature = _hmac(self._stored_key, signed)
        if len(given) != len(signature):
            return False
        client_key = bytes(a ^ b for a, b in zip(given, signature, strict=True))
        return hmac.compare_digest(hashlib.sha256(client_key).digest(), self._stored_key)


def _answer(wire: Wire) -> Body:
    kind, body = wire.read(_LARGEST)
    if kind != b"p":
        raise FatalError("08P01", "a password was asked for, and something else came")
    return body


def _first(said: str) -> tuple[str, str]:
    """Return the header of a client's first message, and the rest of the message."""
    flag, _, rest = said.partition(",")
    name, comma, bare = rest.partition(",")
    if flag not in ("n", "y") or not comma:
        raise FatalError("28000", "the client wants to bind its password to the connection: this server cannot")
    return f"{flag},{name},", bare


def _attribute(said: str, name: str) -> str:
    for part in said.split(","):
        if part.startswith(f"{name}="):
            return part[2:]
    raise FatalError("08P01", f"a message of {_MECHANISM} has no {name}=")


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")
