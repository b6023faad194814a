"""As much of HTTP/2 as a gRPC call needs, over a socket of its own, without copies.

A connection carries one call at a time, so that TCP does the flow control of what is received; a
call that ended well leaves its connection to the next. What is received goes straight from the
kernel to the memory it belongs to, and what is sent is sent from where it lies.

RFC 9113 (HTTP/2), RFC 7541 (HPACK, by the hpack package), and gRPC's PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import socket
import struct
import threading
from collections.abc import Sequence
from urllib.parse import unquote

import hpack

from tensorhold._transport import Piece
from tensorhold.errors import TensorholdError, error, of_trailers

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
PRIORITY = 32

WINDOW = 2**31 - 1
REPLENISH = 1 << 29
FRAME_BYTES = 4 << 20
MESSAGE_BYTES = 8 << 20
HEADER_BLOCK_BYTES = 64 << 10
CONNECT_SECONDS = 5.0
UNHEARD_SECONDS = 30.0
"""How long what was sent may stay unacknowledged by the peer's host."""
SMALL = 4096

_SETTINGS = struct.pack(">HIHIHI", 2, 0, 4, WINDOW, 5, FRAME_BYTES)  # no push, window, frame size


def _lost(why: object) -> TensorholdError:
    return error("UNAVAILABLE", f"the connection was lost: {why}")


class Connection:
    """A connection to one server, for one call at a time."""

    def __init__(self, address: str) -> None:
        self.address = address
        host, _, port = address.rpartition(":")
        try:
            self.socket = socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS)
        except OSError as failure:
            raise error("UNAVAILABLE", f"{address}: {failure}") from None
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 1)):
            if hasattr(socket, option):
                self.socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # A host that is gone: keepalive is for idle connections, this for data under way.
            self.socket.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * UNHEARD_SECONDS)
            )
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._sending = threading.Lock()
        self._room = threading.Condition()
        self._connection_room = self._initial_room = 65535
        self._stream_room = 0
        self._frame_bytes = 16384
        self._buffer = bytearray(SMALL)
        self._at = self._end = 0
        self._left = 0  # bytes of the DATA frame that is being read
        self._received = 0
        self._ended = self._half_closed = True
        self._stream = -1
        self.closed = False
        self._send(
            PREFACE
            + _frame(SETTINGS, 0, 0, _SETTINGS)
            + _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW - 65535))
        )

    def begin(self, method: str, seconds: float | None) -> None:
        """Opens a stream for a call."""
        self._stream += 2
        self._ended = self._half_closed = False
        self._left = 0
        with self._room:
            self._stream_room = self._initial_room
        fields = [
            (":method", "POST"), (":scheme", "http"), (":path", f"/tensorhold.v1.{method}"),
            (":authority", self.address), ("te", "trailers"), ("content-type", "application/grpc"),
            ("user-agent", "tensorhold-python"),
        ]  # fmt: skip
        if seconds is not None:
            fields.append(("grpc-timeout", f"{max(1, min(99_999_999, round(1000 * seconds)))}m"))
        self._send(_frame(HEADERS, END_HEADERS, self._stream, self._encoder.encode(fields)))

    # Sending

    def _send(self, *pieces: Piece) -> None:
        views = [memoryview(piece).cast("B") for piece in pieces if memoryview(piece).nbytes]
        try:
            with self._sending:
                while views:
                    sent = self.socket.sendmsg(views[:512])
                    while views and sent >= views[0].nbytes:
                        sent -= views.pop(0).nbytes
                    if sent:
                        views[0] = views[0][sent:]
        except OSError as failure:
            raise _lost(failure) from None

    def message(self, pieces: Sequence[Piece]) -> None:
        """Sends a message, in frames as large as the server takes; waits for its windows."""
        views = [memoryview(piece).cast("B") for piece in pieces if memoryview(piece).nbytes]
        left = sum(view.nbytes for view in views)
        views.insert(0, memoryview(b"\0" + struct.pack(">I", left)))
        left += 5
        while left:
            with self._room:
                while self._connection_room <= 0 or self._stream_room <= 0:
                    if self.closed or self._ended:
                        raise _lost("the call has ended")
                    self._room.wait()
                size = min(left, self._connection_room, self._stream_room)
                self._connection_room -= size
                self._stream_room -= size
            left -= size
            out: list[Piece] = []
            while size:
                frame = min(size, self._frame_bytes)
                size -= frame
                out.append(struct.pack(">IBI", frame << 8 | DATA, 0, self._stream))
                while frame:
                    take = views[0][:frame]
                    out.append(take)
                    frame -= take.nbytes
                    if take.nbytes == views[0].nbytes:
                        views.pop(0)
                    else:
                        views[0] = views[0][take.nbytes :]
            self._send(*out)

    def half_close(self) -> None:
        """Says that no more messages follow."""
        if not self._ended:
            self._send(_frame(DATA, END_STREAM, self._stream, b""))
            self._half_closed = True

    # Receiving

    def _take(self, view: memoryview) -> None:
        """Fills a view with the next bytes of the connection."""
        try:
            while view.nbytes:
                if self._at < self._end:
                    here = min(view.nbytes, self._end - self._at)
                    view[:here] = memoryview(self._buffer)[self._at : self._at + here]
                    self._at += here
                    view = view[here:]
                elif view.nbytes >= SMALL:
                    got = self.socket.recv_into(view, view.nbytes, socket.MSG_WAITALL)
                    if got == 0:
                        raise _lost("the server closed it")
                    view = view[got:]
                else:
                    self._at, self._end = 0, self.socket.recv_into(self._buffer)
                    if self._end == 0:
                        raise _lost("the server closed it")
        except OSError as failure:
            if isinstance(failure, BlockingIOError):
                raise error("UNAVAILABLE", f"{self.address} has stopped sending") from None
            raise _lost(failure) from None

    def _bytes(self, size: int) -> bytes:
        data = bytearray(size)
        self._take(memoryview(data))
        return bytes(data)

    def _next_frame(self) -> list[tuple[str, str]] | None:
        """Reads to the next bytes of DATA; gives the trailers if the stream ends instead."""
        while True:
            head = self._bytes(9)
            size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big") & WINDOW
            if kind == DATA and stream == self._stream and not flags & PADDED:
                self._left = size
                self._received += size
                if flags & END_STREAM:
                    raise _lost("a call ended without a status")
                if size:
                    return None
                continue
            if size > max(HEADER_BLOCK_BYTES, 16384):
                raise _lost(f"a frame of {size} bytes")
            payload = self._bytes(size)
            if kind == HEADERS:
                fields = self._fields(payload, flags)
                if stream == self._stream and flags & END_STREAM:
                    return fields
            elif kind == RST_STREAM and stream == self._stream:
                raise _lost(f"the server reset the call: {int.from_bytes(payload, 'big')}")
            elif kind == GOAWAY:
                raise _lost("the server goes down")
            elif kind == SETTINGS and not flags & ACK:
                self._settings(payload)
            elif kind == PING and not flags & ACK:
                self._send(_frame(PING, ACK, 0, payload))
            elif kind == WINDOW_UPDATE:
                with self._room:
                    if stream == 0:
                        self._connection_room += int.from_bytes(payload, "big") & WINDOW
                    elif stream == self._stream:
                        self._stream_room += int.from_bytes(payload, "big") & WINDOW
                    self._room.notify_all()

    def _fields(self, payload: bytes, flags: int) -> list[tuple[str, str]]:
        if flags & PRIORITY:
            payload = payload[5:]
        while not flags & END_HEADERS:
            head = self._bytes(9)
            size, flags = int.from_bytes(head[:3], "big"), head[4]
            if head[3] != CONTINUATION or len(payload) + size > HEADER_BLOCK_BYTES:
                raise _lost("headers that do not end")
            payload += self._bytes(size)
        return [(str(key), str(value)) for key, value in self._decoder.decode(payload)]

    def _settings(self, payload: bytes) -> None:
        # First the acknowledgement: until it is read, the old frame size is the largest allowed.
        self._send(_frame(SETTINGS, ACK, 0, b""))
        with self._room:
            for key, value in struct.iter_unpack(">HI", payload):
                if key == 4:
                    self._stream_room += value - self._initial_room
                    self._initial_room = value
                elif key == 5:
                    self._frame_bytes = value
            self._room.notify_all()

    def fill(self, view: memoryview) -> None:
        """Fills a view with the next bytes of the call's messages."""
        while view.nbytes:
            if self._left == 0 and self._next_frame() is not None:
                raise _lost("a message was cut off")
            here = min(view.nbytes, self._left)
            self._take(view[:here])
            self._left -= here
            view = view[here:]

    def next_message(self) -> int | None:
        """Length of the next message; None: the call has ended well.

        Raises:
            TensorholdError: the call has failed.
        """
        if self._left == 0:
            trailers = self._next_frame()
            if trailers is not None:
                self._ended = True
                with self._room:
                    self._room.notify_all()
                self._finish(dict(trailers))
                return None
        if self._received > REPLENISH:
            more = struct.pack(">I", self._received)
            self._send(
                _frame(WINDOW_UPDATE, 0, 0, more), _frame(WINDOW_UPDATE, 0, self._stream, more)
            )
            self._received = 0
        head = bytearray(5)
        self.fill(memoryview(head))
        size = int.from_bytes(head[1:], "big")
        if head[0] or size > MESSAGE_BYTES:
            raise error("CHECKSUM", f"a message of {size} bytes, compressed={head[0]}")
        return size

    @staticmethod
    def _finish(trailers: dict[str, str]) -> None:
        status = int(trailers.get("grpc-status", "14"))
        if status:
            encoded = trailers.get("grpc-status-details-bin", "")
            try:
                details = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
            except binascii.Error:
                details = b""
            raise of_trailers(status, unquote(trailers.get("grpc-message", "")), details)

    def patience(self, seconds: float) -> None:
        """How long a read waits for bytes; 0: for ever."""
        value = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)

    @property
    def reusable(self) -> bool:
        """Whether its call has ended on both sides."""
        return self._ended and self._half_closed and not self.closed

    def close(self) -> None:
        with self._room:
            self.closed = True
            self._room.notify_all()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


class Pool:
    """Connections that wait for their next call, by server."""

    def __init__(self) -> None:
        self._idle: dict[str, list[Connection]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def take(self, address: str) -> tuple[Connection, bool]:
        """A connection, and whether it was used before."""
        with self._lock:
            idle = self._idle.get(address)
            if idle:
                return idle.pop(), True
        return Connection(address), False

    def give(self, connection: Connection) -> None:
        with self._lock:
            if connection.reusable and not self._closed:
                self._idle.setdefault(connection.address, []).append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle = [one for some in self._idle.values() for one in some]
            self._idle.clear()
        for connection in idle:
            connection.close()
