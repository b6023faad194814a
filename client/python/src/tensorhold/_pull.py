"""One pull of many blocks: from all leaders side by side, again for what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import google_crc32c
import numpy as np

from tensorhold._cluster import Cluster
from tensorhold._layout import shards_of
from tensorhold._transport import Piece
from tensorhold.errors import TensorholdError, error
from tensorhold.v1 import data_pb2

RANGES = 2000
"""Of one request: at 25 bytes at most, it fits the window that a connection begins with."""

Key = tuple[int, int]
"""Parameter id and block."""


class Target:
    """Where a block goes: the memory for its payload, and what is done when it is there."""

    __slots__ = ("done", "memory")

    def __init__(
        self, memory: Callable[[], memoryview], done: Callable[[memoryview], None] | None = None
    ) -> None:
        self.memory = memory
        self.done = done


def crc32c(data: Any, before: int = 0) -> int:
    """CRC-32C of a buffer, or of all that was before it and of it."""
    return int(google_crc32c.extend(before, np.frombuffer(data, np.uint8)))


class BlockPull:
    """Pulls blocks until each has reached its target; the deadline starts anew with every block.

    Args:
        targets: each block's target, by parameter id and block.
        codec: of the answer; 0: as stored.
    """

    def __init__(
        self,
        cluster: Cluster,
        model: Any,
        targets: dict[Key, Target],
        codec: int,
        loading: bool,
    ) -> None:
        self._cluster = cluster
        self._model = model
        self._codec = codec
        self._loading = loading
        self._missing = targets
        self._ends = cluster.ends()

    async def run(self) -> None:
        await self._cluster.map()
        attempt = 0
        while self._missing:
            failure = await self._once()
            if not self._missing:
                return
            if failure is not None and not failure.retryable:
                raise failure
            if not await self._cluster.pause(attempt, self._ends):
                raise failure or error("UNAVAILABLE", "blocks are missing from the answer")
            attempt += 1
            await self._cluster.refresh(self._ends)

    async def _once(self) -> TensorholdError | None:
        requests = self._requests()
        if not requests:
            return error("UNAVAILABLE", "the shards have no leaders now")
        ended = await asyncio.gather(
            *(self._stream(address, keys) for address, keys in requests.items()),
            return_exceptions=True,
        )
        worst: TensorholdError | None = None
        for failure in ended:
            if isinstance(failure, TensorholdError):
                if worst is None or worst.retryable:
                    worst = failure
            elif failure is not None:
                raise failure
        return worst

    def _requests(self) -> dict[str, list[Key]]:
        by_leader: dict[str, list[Key]] = {}
        blocks: dict[int, list[int]] = {}
        for parameter, block in sorted(self._missing):
            blocks.setdefault(parameter, []).append(block)
        for parameter, some in blocks.items():
            shards = shards_of(parameter, 0, some[-1] + 1, self._cluster.shard_count)
            for block in some:
                leader = self._cluster.leader(int(shards[block]))
                if leader is not None:
                    by_leader.setdefault(leader, []).append((parameter, block))
        return by_leader

    async def _stream(self, address: str, keys: Sequence[Key]) -> None:
        ranges = list(_ranges(keys))
        for first in range(0, len(ranges), RANGES):
            await self._call(address, ranges[first : first + RANGES])

    async def _call(self, address: str, ranges: Sequence[data_pb2.BlockRange]) -> None:
        request = data_pb2.PullRequest(
            model_id=self._model.id,
            blocks=ranges,
            codec=self._codec,  # type: ignore[arg-type]
            catalog_index=self._model.catalog_index,
            loading=self._loading,
        )
        call = self._cluster.pull(
            address, _PullSink(self._missing), 10 * self._cluster.deadline, self._cluster.deadline
        )
        try:
            await call.write(Plain(request))
            await call.done_writing()
            async for _ in call.headers():
                self._ends = self._cluster.ends()
        finally:
            call.cancel()


class Plain:
    """A request without payloads."""

    def __init__(self, message: data_pb2.PullRequest) -> None:
        self._message = message

    def encoded(self) -> Sequence[Piece]:
        return [self._message.SerializeToString()]


class _PullSink:
    """Takes blocks of a stream to their targets, and strikes them off what is missing."""

    def __init__(self, missing: dict[Key, Target]) -> None:
        self._missing = missing
        self._under_way: list[tuple[Key, Target | None, memoryview]] = []

    def place(self, header: data_pb2.PullHeader) -> Sequence[memoryview]:
        self._under_way.clear()
        for block in header.blocks:
            key = (block.parameter_id, block.block)
            target = self._missing.get(key)
            memory = (
                memoryview(bytearray(block.payload_bytes)) if target is None else target.memory()
            )
            if memory.nbytes != block.payload_bytes:
                raise error(
                    "PAYLOAD_LENGTH",
                    f"block {block.block} of parameter {block.parameter_id} came with "
                    f"{block.payload_bytes} bytes: expected={memory.nbytes}",
                )
            self._under_way.append((key, target, memory))
        return [memory for _, _, memory in self._under_way]

    def placed(self, header: data_pb2.PullHeader) -> None:
        for block, (key, target, memory) in zip(header.blocks, self._under_way, strict=True):
            if block.has_crc and crc32c(memory) != block.crc32c:
                raise error("CHECKSUM", f"block {key[1]} of parameter {key[0]} arrived damaged")
            if target is not None:
                if target.done is not None:
                    target.done(memory)
                self._missing.pop(key, None)


def _ranges(keys: Iterable[Key]) -> Iterable[data_pb2.BlockRange]:
    last: data_pb2.BlockRange | None = None
    for parameter, block in keys:
        if last is not None and last.parameter_id == parameter and last.first + last.count == block:
            last.count += 1
            continue
        if last is not None:
            yield last
        last = data_pb2.BlockRange(parameter_id=parameter, first=block, count=1)
    if last is not None:
        yield last
