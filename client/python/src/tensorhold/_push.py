"""Pushes: what a session sends, exactly once, whatever is retried.

A session numbers its pushes. Those to one shard go over one stream, in order; what is not
acknowledged is kept, and sent again the same, with the same numbers, to whoever leads the shard
when the stream breaks. The shard knows which of it was applied.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorhold._cluster import Cluster
from tensorhold._layout import shards_of
from tensorhold._pull import crc32c
from tensorhold._transport import Piece
from tensorhold.codecs import Codec
from tensorhold.errors import TensorholdError, error, of_status
from tensorhold.v1 import data_pb2

PAYLOAD_BYTES = 1 << 20
"""Of one message, at most; and so one log entry."""
F32_BYTES = 16 << 20
"""What a message decodes to, at most, whatever codec makes it small."""
BLOCKS = 1024

Updated = Callable[[Any], Sequence[memoryview]]
"""Where the blocks of a PushPull's answer go."""


@dataclass(frozen=True)
class BlockPart:
    """What a push sends of one block: pieces, one for each run; no runs: the whole block."""

    parameter_id: int
    block: int
    codec: Codec
    pieces: Sequence[Piece]
    payload_bytes: int
    f32_bytes: int
    runs: Sequence[int] = ()


@dataclass(frozen=True)
class Message:
    """Blocks of one shard that travel together; part and parts count them in a step."""

    shard: int
    part: int
    parts: int
    blocks: Sequence[BlockPart]


def messages(
    blocks: Iterable[BlockPart], shards: int, every_shard: Iterable[int] = ()
) -> list[Message]:
    """The messages of a push; `every_shard` get one, though it be empty."""
    by_shard: dict[int, list[BlockPart]] = {shard: [] for shard in every_shard}
    for block in blocks:
        shard = int(shards_of(block.parameter_id, block.block, 1, shards)[0])
        by_shard.setdefault(shard, []).append(block)
    made = []
    for shard in sorted(by_shard):
        cut = _cut(by_shard[shard])
        made += [Message(shard, part, len(cut), some) for part, some in enumerate(cut)]
    return made


def _cut(blocks: Sequence[BlockPart]) -> list[list[BlockPart]]:
    cut: list[list[BlockPart]] = [[]]
    payload = decoded = 0
    for block in blocks:
        full = (
            payload + block.payload_bytes > PAYLOAD_BYTES
            or decoded + block.f32_bytes > F32_BYTES
            or len(cut[-1]) == BLOCKS
        )
        if cut[-1] and full:
            cut.append([])
            payload = decoded = 0
        cut[-1].append(block)
        payload += block.payload_bytes
        decoded += block.f32_bytes
    return cut


@dataclass
class Pending:
    """A push that is not acknowledged yet."""

    header: data_pb2.PushHeader
    pieces: Sequence[Piece]
    bytes: int
    updated: Updated | None
    done: asyncio.Future[data_pb2.PushResponse]
    expiry: asyncio.TimerHandle | None = field(default=None)


class Lane:
    """The pushes of one session to one shard, over one stream at a time."""

    def __init__(self, pusher: Pusher, shard: int, with_blocks: bool) -> None:
        self._pusher = pusher
        self._cluster = pusher.cluster
        self._shard = shard
        self._with_blocks = with_blocks
        self._unacked: dict[int, Pending] = {}
        self._wake = asyncio.Event()
        self._answered = False
        self._why = "no answer came"
        self._task = asyncio.get_running_loop().create_task(self._run())

    def push(self, pending: Pending) -> None:
        seq = pending.header.seq
        self._unacked[seq] = pending
        pending.expiry = asyncio.get_running_loop().call_later(
            self._cluster.deadline, self._expire, seq
        )
        self._wake.set()

    async def _run(self) -> None:
        attempt = 0
        while True:
            while not self._unacked:
                self._wake.clear()
                await self._wake.wait()
            try:
                ends = self._cluster.ends()
                if attempt:
                    await self._cluster.pause(attempt - 1, ends)
                    await self._cluster.refresh(ends)
                attempt += 1
                leader = self._cluster.leader(self._shard)
                if leader is None:
                    raise error("UNAVAILABLE", f"shard {self._shard} has no leader now")
                self._answered = False
                await self._stream(leader)
            except TensorholdError as failure:
                self._why = str(failure)
                if self._answered:
                    attempt = 1
                if not failure.retryable and failure.reason != "INTERNAL":
                    for seq in list(self._unacked):
                        self._fail(seq, failure)

    async def _stream(self, leader: str) -> None:
        method = "PushPull" if self._with_blocks else "Push"
        kind = data_pb2.PushPullHeader if self._with_blocks else data_pb2.PushResponse
        call = self._cluster.open(leader, method, kind, self if self._with_blocks else None)
        writer = asyncio.get_running_loop().create_task(self._write(call))
        try:
            async for header in call.headers():
                self._take(header.ack if self._with_blocks else header)
            raise error("UNAVAILABLE", "the server ended the stream")
        finally:
            writer.cancel()
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError, TensorholdError):
                await writer

    async def _write(self, call: Any) -> None:
        sent = 0
        while True:
            for seq, pending in list(self._unacked.items()):
                if seq <= sent or seq not in self._unacked:
                    continue
                sent = seq
                pending.header.acked_below = self._pusher.acked_below()
                await call.write(pending.header, pending.pieces)
            if not any(seq > sent for seq in self._unacked):
                self._wake.clear()
                await self._wake.wait()

    def place(self, header: data_pb2.PushPullHeader) -> Sequence[memoryview]:
        """Where the blocks of an answer go; they are sent for no other push."""
        pending = self._unacked.get(header.ack.seq)
        if pending is None or pending.updated is None or not header.blocks:
            return [memoryview(bytearray(block.payload_bytes)) for block in header.blocks]
        return pending.updated(header)

    def placed(self, header: data_pb2.PushPullHeader) -> None:
        """Its acknowledgement is taken in the loop, after it."""

    def _take(self, ack: data_pb2.PushResponse) -> None:
        if ack.HasField("error"):
            refusal = of_status(ack.error)
            if refusal.retryable:
                raise refusal
            self._answered = True
            self._fail(ack.seq, refusal)
            return
        self._answered = True
        pending = self._end(ack.seq)
        if pending is not None and not pending.done.done():
            pending.done.set_result(ack)

    def _end(self, seq: int) -> Pending | None:
        pending = self._unacked.pop(seq, None)
        if pending is not None and pending.expiry is not None:
            pending.expiry.cancel()
        return pending

    def _fail(self, seq: int, failure: TensorholdError) -> None:
        pending = self._end(seq)
        if pending is not None and not pending.done.done():
            pending.done.set_exception(failure)

    def _expire(self, seq: int) -> None:
        self._fail(
            seq,
            error(
                "DEADLINE_EXCEEDED",
                f"push {seq} to shard {self._shard} was not acknowledged within "
                f"{self._cluster.deadline:g} s; it may have been applied: {self._why}",
            ),
        )

    def close(self) -> None:
        self._task.cancel()
        for seq in list(self._unacked):
            self._fail(seq, error("CANCELLED", "the session was closed"))


class Pusher:
    """What numbers the pushes of a session and holds them until they are acknowledged.

    When more than `room` bytes are not acknowledged, a push waits.
    """

    def __init__(self, cluster: Cluster, session: int, room: int) -> None:
        self.cluster = cluster
        self.session = session
        self.pushed_bytes = 0
        self.pushed_as_f32 = 0
        self.pulled_bytes = 0
        self._lanes: dict[tuple[int, bool], Lane] = {}
        self._outstanding: dict[int, None] = {}
        self._last_seq = 0
        self._terms: dict[int, int] = {}
        self._room = room
        self._in_flight = 0
        self._freed = asyncio.Condition()
        self.closed = False

    def acked_below(self) -> int:
        return next(iter(self._outstanding), self._last_seq + 1)

    async def send(
        self,
        message: Message,
        header: data_pb2.PushHeader,
        updated: Updated | None = None,
        checkpointed: bool = False,
    ) -> data_pb2.PushResponse:
        """Sends a message until it is answered.

        Args:
            header: what all messages of the push have in common; completed here.
            updated: takes the blocks as they are afterwards; None: they are not sent.
            checkpointed: the model is, so that a change of leader is to be noticed.
        """
        if self.closed:
            raise error("CANCELLED", "the session is closed")
        size = sum(block.payload_bytes for block in message.blocks)
        await self._reserve(size)
        try:
            own = data_pb2.PushHeader()
            own.CopyFrom(header)
            own.session, own.shard = self.session, message.shard
            if header.step:
                own.part, own.parts = message.part, message.parts
            if checkpointed:
                own.expect_term = self._terms.get(message.shard, 0)
            pieces: list[Piece] = []
            for block in message.blocks:
                own.blocks.append(_describe(block))
                pieces += block.pieces
            self._last_seq += 1
            own.seq = self._last_seq
            self._outstanding[own.seq] = None
            try:
                loop = asyncio.get_running_loop()
                pending = Pending(own, pieces, size, updated, loop.create_future())
                self._lane(message.shard, updated is not None).push(pending)
                ack = await pending.done
            finally:
                del self._outstanding[own.seq]
            self._terms[message.shard] = ack.term
            self.pushed_bytes += size
            self.pushed_as_f32 += sum(block.f32_bytes for block in message.blocks)
            return ack
        finally:
            async with self._freed:
                self._in_flight -= min(size, self._room)
                self._freed.notify_all()

    async def _reserve(self, size: int) -> None:
        taken = min(size, self._room)
        async with self._freed:
            await self._freed.wait_for(lambda: self._in_flight + taken <= self._room)
            self._in_flight += taken

    def _lane(self, shard: int, with_blocks: bool) -> Lane:
        lane = self._lanes.get((shard, with_blocks))
        if lane is None:
            lane = self._lanes[shard, with_blocks] = Lane(self, shard, with_blocks)
        return lane

    def close(self) -> None:
        self.closed = True
        for lane in self._lanes.values():
            lane.close()


def _describe(block: BlockPart) -> data_pb2.BlockHeader:
    crc = 0
    for piece in block.pieces:
        crc = crc32c(piece, crc)
    return data_pb2.BlockHeader(
        parameter_id=block.parameter_id,
        block=block.block,
        codec=int(block.codec),  # type: ignore[arg-type]
        payload_bytes=block.payload_bytes,
        runs=block.runs,
        crc32c=crc,
        has_crc=True,
    )
