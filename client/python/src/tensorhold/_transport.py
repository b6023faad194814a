"""Calls of Blocks and Rows: messages of a header and of payloads that are not copied in between.

On the wire a message is what proto/ says: field 1 is the header, field 15 all payloads, one after
another. A sink names the memory that payloads are received into.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import grpc

from tensorhold.errors import error, of_rpc

H = TypeVar("H")
A_co = TypeVar("A_co", covariant=True)
H_contra = TypeVar("H_contra", contravariant=True)
Piece = Any
"""Anything with a buffer: bytes, memoryview, a contiguous array."""


class Sink(Protocol[H_contra]):
    """Where the payloads of a call's answers go."""

    def place(self, header: H_contra) -> Sequence[memoryview]:
        """Says for a header where its payloads go, in their order and of exactly their sizes."""

    def placed(self, header: H_contra) -> None:
        """They are there."""


class Request(Protocol):
    """A message to be sent."""

    def encoded(self) -> Sequence[Piece]:
        """All its bytes, in pieces; called when it is its turn, in any thread, perhaps again."""


class Call(Protocol[A_co]):
    """One open call: what is written goes out in order, and headers come in."""

    async def write(self, request: Request) -> None:
        """Takes a message to be sent."""

    def headers(self) -> AsyncIterator[A_co]:
        """Headers of the answers, each after its payloads were placed; raises how it failed."""

    def cancel(self) -> None:
        """Gives the call up."""


def varint(value: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: Any, at: int) -> tuple[int, int]:
    """A varint at an offset, and the offset after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise error("CHECKSUM", "a message is not protobuf: a varint of more than 10 bytes")


def frame_prefix(header: Any, payload_bytes: int) -> bytes:
    """All of a message but its payloads."""
    encoded = header.SerializeToString()
    prefix = b"\x0a" + varint(len(encoded)) + encoded
    return prefix + b"\x7a" + varint(payload_bytes) if payload_bytes else prefix


def split(message: bytes) -> tuple[memoryview, memoryview]:
    """Header and payload of a whole message, as views of it."""
    view = memoryview(message)
    header = payload = view[:0]
    at = 0
    try:
        while at < len(view):
            tag, at = read_varint(view, at)
            if tag & 7 != 2:
                raise error("CHECKSUM", f"a message is not one of blocks: field tag value={tag}")
            size, at = read_varint(view, at)
            if tag >> 3 == 1:
                header = view[at : at + size]
            elif tag >> 3 == 15:
                payload = view[at : at + size]
            at += size
    except IndexError:
        at = len(view) + 1
    if at != len(view):
        raise error("CHECKSUM", "a message ends in the middle of a field")
    return header, payload


class GrpcCall(Generic[H]):
    """A call through grpcio, which copies each payload some times on its way."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        method: str,
        header_type: Callable[[], Any],
        sink: Sink[H] | None,
        timeout: float | None,
    ) -> None:
        self._header_type = header_type
        self._sink = sink
        multi = channel.stream_stream(f"/tensorhold.v1.{method}", _unchanged, _unchanged)
        self._call = multi(timeout=timeout, wait_for_ready=False)

    async def write(self, request: Request) -> None:
        try:
            await self._call.write(b"".join(request.encoded()))
        except grpc.RpcError as failure:
            raise of_rpc(failure) from None
        except (grpc.aio.UsageError, asyncio.InvalidStateError):
            raise error("UNAVAILABLE", "the call has ended") from None

    async def done_writing(self) -> None:
        await self._call.done_writing()

    async def headers(self) -> AsyncIterator[H]:
        try:
            async for message in self._call:
                header = self._header_type()
                if self._sink is None:
                    header.ParseFromString(message)
                else:
                    encoded, payload = split(message)
                    header.ParseFromString(bytes(encoded))
                    _scatter(payload, self._sink.place(header))
                    self._sink.placed(header)
                yield header
        except grpc.RpcError as failure:
            raise of_rpc(failure) from None

    def cancel(self) -> None:
        self._call.cancel()


def _scatter(payload: memoryview, targets: Sequence[memoryview]) -> None:
    at = 0
    for target in targets:
        target[:] = payload[at : at + len(target)]
        at += len(target)
    if at != len(payload):
        raise error("PAYLOAD_LENGTH", f"a payload has {len(payload)} bytes: expected={at}")


def _unchanged(message: bytes) -> bytes:
    return message
