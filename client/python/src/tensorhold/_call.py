"""Calls over connections of their own.

grpcio copies a payload three times on its way, in a thread that all calls share. Here the kernel
takes it from where it lies, and puts it where it belongs.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from tensorhold._http2 import Connection, Pool
from tensorhold._transport import Request, Sink
from tensorhold.errors import TensorholdError, error
from tensorhold.v1 import data_pb2

H = TypeVar("H")


class _SocketCall(Generic[H]):
    """A call whose answers are received in a thread of its own, where the sink's methods run."""

    def __init__(
        self, address: str, method: str, header_type: Callable[[], Any], sink: Sink[H] | None
    ) -> None:
        self._address, self._method = address, method
        self._header_type = header_type
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._mail: collections.deque[H | TensorholdError | None] = collections.deque()
        self._arrived = asyncio.Event()
        self._connection: Connection | None = None
        self._cancelled = False

    def _start(self, work: Callable[[], None], what: str) -> None:
        name = f"tensorhold-{self._method}-{what}"
        threading.Thread(target=work, name=name, daemon=True).start()

    async def headers(self) -> AsyncIterator[H]:
        while True:
            while not self._mail:
                self._arrived.clear()
                await self._arrived.wait()
            one = self._mail.popleft()
            if one is None:
                return
            if isinstance(one, TensorholdError):
                raise one
            yield one

    def cancel(self) -> None:
        self._cancelled = True
        connection = self._connection
        if connection is not None:
            connection.close()

    def _tell(self, what: H | TensorholdError | None) -> None:
        self._mail.append(what)
        if len(self._mail) == 1:  # else the loop has been woken and has not come to it
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._arrived.set)

    def _receive(self, connection: Connection) -> TensorholdError | None:
        """Takes answers until the call ends; gives how it failed."""
        try:
            while (size := connection.next_message()) is not None:
                self._tell(self._read(connection, size))
        except TensorholdError as failure:
            return failure
        except Exception as failure:  # of a sink: it must reach who waits for it
            return error("INTERNAL", f"{type(failure).__name__}: {failure}")
        return None

    def _read(self, connection: Connection, size: int) -> H:
        header = self._header_type()
        if self._sink is None:
            data = bytearray(size)
            connection.fill(memoryview(data))
            header.ParseFromString(bytes(data))
            return header
        left = size
        payload = 0
        while left and not payload:
            tag, used = _varint(connection)
            length, more = _varint(connection)
            left -= used + more
            if length > left:
                raise error("CHECKSUM", "a message ends in the middle of a field")
            if tag == 0x0A:
                data = bytearray(length)
                connection.fill(memoryview(data))
                header.ParseFromString(bytes(data))
                left -= length
            elif tag == 0x7A:
                payload = length
            else:
                raise error("CHECKSUM", f"a message is not one of blocks: tag value={tag}")
        for target in self._sink.place(header):
            if target.nbytes > payload:
                raise error("PAYLOAD_LENGTH", f"a payload is short: value={payload}")
            connection.fill(target)
            payload -= target.nbytes
            left -= target.nbytes
        if payload or left:
            raise error("PAYLOAD_LENGTH", f"a payload has {payload} bytes too many")
        self._sink.placed(header)
        return header


class PullCall(_SocketCall[data_pb2.PullHeader]):
    """A call of one request, on a connection that others used before and will use after it."""

    def __init__(
        self,
        pool: Pool,
        address: str,
        sink: Sink[data_pb2.PullHeader],
        timeout: float | None,
        patience: float = 0,
    ) -> None:
        super().__init__(address, "Blocks/Pull", data_pb2.PullHeader, sink)
        self._pool = pool
        self._timeout, self._patience = timeout, patience
        self._requests: list[Request] = []

    async def write(self, request: Request) -> None:
        self._requests.append(request)

    async def done_writing(self) -> None:
        """Begins."""
        self._start(self._run, "receive")

    def _run(self) -> None:
        try:
            connection = self._open()
        except TensorholdError as failure:
            self._tell(failure)
            return
        ending = self._receive(connection)
        self._connection = None
        if ending is not None:
            connection.close()
        self._pool.give(connection)
        self._tell(ending)

    def _open(self) -> Connection:
        """A connection on which the request was sent: a fresh one where an idle one was cut."""
        while True:
            connection, used = self._pool.take(self._address)
            try:
                connection.patience(self._patience)
                connection.begin(self._method, self._timeout)
                for request in self._requests:
                    connection.message(request.encoded())
                connection.half_close()
            except (TensorholdError, OSError):
                connection.close()
                if not used:
                    raise
                continue
            self._connection = connection
            if self._cancelled:
                connection.close()
            return connection


class PushCall(_SocketCall[H]):
    """A call of many requests and answers: one thread sends, another receives.

    Requests are encoded in the thread that sends, each when the one before it has been sent.
    """

    def __init__(
        self, address: str, method: str, header_type: Callable[[], Any], sink: Sink[H] | None
    ) -> None:
        super().__init__(address, method, header_type, sink)
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._wrong: TensorholdError | None = None
        self._start(self._run, "receive")

    async def write(self, request: Request) -> None:
        self._requests.put(request)

    def cancel(self) -> None:
        super().cancel()
        self._requests.put(None)

    def _run(self) -> None:
        try:
            connection = Connection(self._address)
            self._connection = connection
            connection.begin(self._method, None)
        except TensorholdError as failure:
            self._tell(failure)
            return
        except OSError as failure:  # of a socket that was cut while it was set up
            self._tell(error("UNAVAILABLE", f"{self._address}: {failure}"))
            return
        if self._cancelled:
            connection.close()
        self._start(lambda: self._send(connection), "send")
        ending = self._receive(connection)
        connection.close()
        self._requests.put(None)
        self._tell(self._wrong or ending)

    def _send(self, connection: Connection) -> None:
        try:
            while (request := self._requests.get()) is not None:
                connection.message(request.encoded())
        except TensorholdError:
            connection.close()  # how the call ended is heard by the one that receives
        except Exception as failure:
            self._wrong = error("INTERNAL", f"{type(failure).__name__}: {failure}")
            connection.close()


def _varint(connection: Connection) -> tuple[int, int]:
    value = 0
    one = bytearray(1)
    for i in range(10):
        connection.fill(memoryview(one))
        value |= (one[0] & 0x7F) << 7 * i
        if one[0] < 0x80:
            return value, i + 1
    raise error("CHECKSUM", "a message is not protobuf: a varint of more than 10 bytes")
