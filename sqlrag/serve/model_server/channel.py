"""One end of a connection: it sends and receives frames, each whole or not at all."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

from sqlrag.errors import ServerError
from sqlrag.serve.model_server.protocol import LONGEST_FRAME, Frame, ProtocolError

__all__ = ["FRAME_SECONDS", "Channel", "Gone"]

_HEAD = struct.Struct("<IB")
FRAME_SECONDS = 30.0
"""Seconds for the rest of a frame that has begun to arrive, and for the other side to take one."""

_PIECE = 1 << 20


class Gone(Exception):  # noqa: N818 - it is not an error if the other side just leaves
    """The other side has closed the connection, or has stopped in the middle of a frame."""


class Channel:
    """Frames over a connected socket. One thread receives; any thread may send."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.last_sent = time.monotonic()
        self._sending = threading.Lock()

    def send(self, kind: Frame, body: bytes = b"") -> None:
        """Send a frame. Raises Gone if the other side does not take it, ServerError if it is too long."""
        if len(body) >= LONGEST_FRAME:
            raise ServerError(f"{len(body):,} bytes are too many to go through the model server at once")
        with self._sending:
            try:
                self.socket.settimeout(FRAME_SECONDS)
                self.socket.sendall(_HEAD.pack(len(body) + 1, kind) + body)
            except (OSError, ValueError) as error:
                raise Gone(str(error)) from error
            self.last_sent = time.monotonic()

    def send_if_free(self, kind: Frame) -> None:
        """Send an empty frame, unless another one is being sent or the other side's buffer is full."""
        if not self._sending.acquire(blocking=False):
            return
        try:
            # On a Unix socket, so few bytes are sent whole or not at all.
            self.socket.send(_HEAD.pack(1, kind), socket.MSG_DONTWAIT)
            self.last_sent = time.monotonic()
        except (OSError, ValueError):
            pass
        finally:
            self._sending.release()

    def receive(self, seconds: float | None = None) -> tuple[Frame, bytes]:
        """Return the type and the body of the next frame.

        `seconds`: how long to wait for it to begin; None waits for ever. Raises TimeoutError, Gone at the end of the
        connection, and ProtocolError for bytes that are not a frame.
        """
        head = self._exactly(1, seconds)
        until = time.monotonic() + FRAME_SECONDS
        length, kind = _HEAD.unpack(head + self._exactly(_HEAD.size - 1, None, until))
        if not 1 <= length <= LONGEST_FRAME:
            raise ProtocolError(f"a frame of {length:,} bytes: it has 1 to {LONGEST_FRAME:,}")
        if kind not in Frame._value2member_map_:
            raise ProtocolError(f"a frame of the unknown type {kind}")
        return Frame(kind), self._exactly(length - 1, None, until)

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def shut(self) -> None:
        """End the connection, from another thread than the one that waits for a frame."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _exactly(self, count: int, seconds: float | None, until: float | None = None) -> bytes:
        pieces: list[bytes] = []
        while count:
            left = seconds if until is None else max(until - time.monotonic(), 1e-3)
            try:
                self.socket.settimeout(left)
                piece = self.socket.recv(min(count, _PIECE))
            except TimeoutError:
                if until is None:
                    raise
                raise Gone("the other side stopped in the middle of a frame") from None
            except (OSError, ValueError) as error:
                raise Gone(str(error)) from error
            if not piece:
                raise Gone("the connection ended")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)
