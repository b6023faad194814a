"""A pull over a connection of its own.

grpcio copies a payload three times on its way into an array, in a thread that all calls share. Here
the kernel puts it where it belongs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Generic, TypeVar

from tensorhold._http2 import Connection, Pool
from tensorhold._transport import Piece, Sink
from tensorhold.errors import TensorholdError, error

H = TypeVar("H")


class SocketCall(Generic[H]):
    """A call of one request, in a thread of its own that sends it and receives the answers.

    The sink's methods run in that thread.
    """

    def __init__(
        self,
        pool: Pool,
        address: str,
        method: str,
        header_type: Callable[[], Any],
        sink: Sink[H] | None,
        timeout: float | None,
        patience: float = 0,
    ) -> None:
        self._pool, self._address, self._method = pool, address, method
        self._header_type = header_type
        self._sink = sink
        self._timeout, self._patience = timeout, patience
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[H | TensorholdError | None] = asyncio.Queue()
        self._requests: list[bytes] = []
        self._connection: Connection | None = None
        self._cancelled = False

    async def write(self, header: Any, pieces: Sequence[Piece]) -> None:
        """Takes the request, a message without payloads."""
        self._requests.append(header.SerializeToString())

    async def done_writing(self) -> None:
        """Begins."""
        name = f"tensorhold-{self._method}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def headers(self) -> AsyncIterator[H]:
        while True:
            one = await self._arrived.get()
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
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, what)

    def _run(self) -> None:
        try:
            connection = self._open()
        except TensorholdError as failure:
            self._tell(failure)
            return
        ending: TensorholdError | None = None
        try:
            while (size := connection.next_message()) is not None:
                self._tell(self._read(connection, size))
        except TensorholdError as failure:
            ending = failure
        except Exception as failure:  # of a sink: it must reach who waits for it
            ending = error("INTERNAL", f"{type(failure).__name__}: {failure}")
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
                    connection.message([request])
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


def _varint(connection: Connection) -> tuple[int, int]:
    value = 0
    one = bytearray(1)
    for i in range(10):
        connection.fill(memoryview(one))
        value |= (one[0] & 0x7F) << 7 * i
        if one[0] < 0x80:
            return value, i + 1
    raise error("CHECKSUM", "a message is not protobuf: a varint of more than 10 bytes")
