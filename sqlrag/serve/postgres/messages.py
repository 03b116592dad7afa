"""Messages of the protocol: read from a socket, taken apart, made and sent.

https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from sqlrag.serve.postgres.sqlstate import ClientError, FatalError

__all__ = [
    "Body",
    "Closed",
    "Wire",
    "decoded",
    "error_response",
    "int16",
    "int32",
    "message",
    "notice",
    "text",
]

_LARGEST = 1 << 20
"""The most bytes of a message from a client."""

_LARGEST_BIND = 4 << 20
"""The most bytes of a message that carries parameters."""

_LARGEST_STARTUP = 10_000
"""As PostgreSQL's MAX_STARTUP_PACKET_LENGTH."""

_FLUSH = 1 << 16

_SENDING = 60.0
"""Seconds in which a client must receive what is sent at once: 64 kB, or one row."""

_SOON = 0.001


class Closed(Exception):  # noqa: N818 - no error: the client has gone
    """The client has closed the connection."""


class Wire:
    """A socket for messages. What is sent is kept until `flush`, or until it is 64 kB.

    `seconds`: the time in which the client must have signed in; each read and write fails after it, until `stay`.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.socket = connection
        self._read = bytearray()
        self._unsent = bytearray()
        self._ends: float | None = time.monotonic() + seconds
        # Called while the client is waited for, with the seconds that it has been silent, or None while it is sent
        # something. They return the seconds after which they want to be called again, None for never.
        self.while_silent: Callable[[float], float | None] = lambda _: None
        self.while_sending: Callable[[], float | None] = lambda: None

    @property
    def has_unread(self) -> bool:
        """Whether the client has sent bytes that are not read yet."""
        return bool(self._read)

    def stay(self) -> None:
        """End the time limit for signing in."""
        self._ends = None

    def drop(self) -> None:
        """End the connection; may be called from another thread."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Encrypt what follows. Raises OSError if that fails."""
        wrapped = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.socket = wrapped
        self._set_timeout(None, None)
        wrapped.do_handshake()

    def startup(self) -> Body:
        """Return the first message, which has no kind. Raises FatalError if it cannot be one."""
        (length,) = struct.unpack("!I", self._take(4))
        if not 8 <= length <= _LARGEST_STARTUP:
            raise FatalError("08P01", f"the first message would have {length:,} bytes: this is no client of PostgreSQL")
        return Body(self._take(length - 4))

    def read(self, largest: int | None = None) -> tuple[bytes, Body]:
        """Return kind and body of the next message. Raises Closed at the end, FatalError for one that is too long."""
        kind, length = struct.unpack("!cI", self._take(5))
        most = largest or (_LARGEST_BIND if kind == b"B" else _LARGEST)
        if not 4 <= length <= most:
            raise FatalError("08P01", f"a message would have {length:,} bytes: the most are {most:,}")
        return kind, Body(self._take(length - 4))

    def _take(self, count: int) -> bytes:
        while len(self._read) < count:
            # Read no more than a short message has: the bytes after a request for TLS belong to the TLS handshake.
            got = self._received(count - len(self._read) if count < 16 else _FLUSH)
            if not got:
                raise Closed
            self._read += got
        taken = bytes(self._read[:count])
        del self._read[:count]
        return taken

    def _received(self, most: int) -> bytes:
        begun = time.monotonic()
        while True:
            self._set_timeout(self.while_silent(time.monotonic() - begun), None)
            with _patience():
                return self.socket.recv(most)

    def send(self, data: bytes) -> None:
        """Send data with the next flush, or now if 64 kB are waiting."""
        self._unsent += data
        if len(self._unsent) >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Send what is waiting. Raises Closed if the client does not receive it within a minute."""
        data, self._unsent = memoryview(self._unsent), bytearray()
        ends = time.monotonic() + _SENDING
        while data:
            self._set_timeout(self.while_sending(), ends)
            with _patience():
                data = data[self.socket.send(data) :]

    def _set_timeout(self, due: float | None, ends: float | None) -> None:
        """Set the timeout of the socket's next call to the time until `due` or the end. Raises Closed after the end."""
        now = time.monotonic()
        lefts = [end - now for end in (ends, self._ends) if end is not None]
        if any(left <= 0 for left in lefts):
            raise Closed
        waits = [*lefts, *([] if due is None else [due])]
        self.socket.settimeout(max(min(waits), _SOON) if waits else None)


@contextmanager
def _patience() -> Iterator[None]:
    """Ignore the timeout of a socket's call in the body. Raises Closed for other errors."""
    try:
        yield
    except OSError as error:
        if not isinstance(error, TimeoutError) or error.errno is not None:  # a peer that is gone has a number
            raise Closed from error


class Body:
    """The fields of a message, read one after the other. Methods raise ClientError for a malformed message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """The number of bytes that are not read yet."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if count < 0 or count > self.left:
            raise ClientError("08P01", "a message ends before its fields do")
        self._at += count
        return self._data[self._at - count : self._at]

    def int16(self) -> int:
        """Return a number of two bytes."""
        return int(struct.unpack("!h", self.take(2))[0])

    def count(self) -> int:
        """Return a count in two bytes, up to 65,535 as in PostgreSQL."""
        return int(struct.unpack("!H", self.take(2))[0])

    def int32(self) -> int:
        """Return a number of four bytes."""
        return int(struct.unpack("!i", self.take(4))[0])

    def text(self) -> str:
        """Return a text that ends with a zero byte."""
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise ClientError("08P01", "a message has a text without an end")
        data = self.take(end - self._at)
        self._at += 1
        return decoded(data)

    def end(self) -> None:
        """Raise ClientError if bytes are left."""
        if self.left:
            raise ClientError("08P01", f"a message has {self.left} bytes too many")


def decoded(data: bytes) -> str:
    """Return a text from the client, which must be UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ClientError(
            "22021", f"a text is not UTF-8 at byte {error.start}: this server takes no other encoding"
        ) from error


def message(kind: bytes, *parts: bytes) -> bytes:
    """Return a message to the client."""
    body = b"".join(parts)
    return struct.pack("!cI", kind, len(body) + 4) + body


def text(value: str) -> bytes:
    """Return a text that ends with a zero byte."""
    return value.replace("\0", " ").encode(errors="replace") + b"\0"


def int16(value: int) -> bytes:
    """Return a number of two bytes; counts of columns go up to 65,535."""
    return struct.pack("!H", value)


def int32(value: int) -> bytes:
    """Return a number of four bytes."""
    return struct.pack("!i", value)


def notice(said: str) -> bytes:
    """Return a NoticeResponse with a warning in one line."""
    fields = (("S", "WARNING"), ("V", "WARNING"), ("C", "01000"), ("M", " ".join(said.split())))
    return message(b"N", *(name.encode() + text(value) for name, value in fields), b"\0")


def error_response(error: BaseException, code: str, severity: str = "ERROR") -> bytes:
    """Return an ErrorResponse with the message in one line."""
    said = "out of memory" if isinstance(error, MemoryError) else str(error)
    said = " ".join(said.split()) or type(error).__name__
    fields: Iterable[tuple[str, str]] = (("S", severity), ("V", severity), ("C", code), ("M", said))
    return message(b"E", *(name.encode() + text(value) for name, value in fields), b"\0")
