"""Pushes: what a session sends, exactly once, whatever is retried.

A session numbers its pushes. Those to one shard go over one stream, in order; what is not
acknowledged is kept, and sent again the same, with the same numbers, to whoever leads the shard
when the stream breaks. The shard knows which of it was applied.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorhold._cluster import Cluster
from tensorhold._layout import shards_of
from tensorhold._pull import crc32c
from tensorhold._transport import Piece, frame_prefix
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
    by_parameter: dict[int, list[BlockPart]] = {}
    for block in blocks:
        by_parameter.setdefault(block.parameter_id, []).append(block)
    for parameter, some in by_parameter.items():
        last = max(block.block for block in some)
        of_block = shards_of(parameter, 0, last + 1, shards).tolist()
        for block in some:
            by_shard.setdefault(of_block[block.block], []).append(block)
    made = []
    for shard in sorted(by_shard):
        cut = _cut(by_shard[shard])
        made += [Message(shard, part, len(cut), some) for part, some in enumerate(cut)]
    made.sort(key=lambda message: message.part)  # so that all shards have work at once
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


@dataclass(eq=False)
class Pending:
    """A push that is not acknowledged yet."""

    header: data_pb2.PushHeader
    message: Message
    payload: bool
    updated: Updated | None
    done: Callable[[data_pb2.PushResponse | TensorholdError], None]
    ended: bool = False
    expiry: asyncio.TimerHandle | None = field(default=None)
    _described: Sequence[data_pb2.BlockHeader] | None = field(default=None)

    @property
    def bytes(self) -> int:
        """Of its payload."""
        return sum(one.payload_bytes for one in self.message.blocks) if self.payload else 0

    def encoded(self) -> Sequence[Piece]:
        """The message as it is sent; checksums are made here, where the bytes are needed next."""
        if self._described is None:
            self._described = [_describe(block) for block in self.message.blocks]
        header = data_pb2.PushHeader(blocks=self._described)
        header.MergeFrom(self.header)
        prefix = frame_prefix(header, self.bytes)
        if not self.payload:
            return [prefix]
        return [prefix, *(piece for block in self.message.blocks for piece in block.pieces)]


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
                        self._end(seq, failure)

    async def _stream(self, leader: str) -> None:
        method = "PushPull" if self._with_blocks else "Push"
        kind = data_pb2.PushPullHeader if self._with_blocks else data_pb2.PushResponse
        call = self._cluster.push(leader, method, kind, self if self._with_blocks else None)
        writer = asyncio.get_running_loop().create_task(self._write(call))
        try:
            async for header in call.headers():
                if self._with_blocks:
                    self._pusher.pulled_bytes += sum(one.payload_bytes for one in header.blocks)
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
            for seq in list(self._unacked):
                pending = self._unacked.get(seq)
                if pending is not None and seq > sent:
                    sent = seq
                    pending.header.acked_below = self._pusher.acked_below()
                    await call.write(pending)
            if not any(seq > sent for seq in reversed(self._unacked)):
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
            self._end(ack.seq, refusal)
            return
        self._answered = True
        self._end(ack.seq, ack)

    def _end(self, seq: int, what: data_pb2.PushResponse | TensorholdError) -> None:
        pending = self._unacked.pop(seq, None)
        if pending is not None:
            pending.ended = True
            if pending.expiry is not None:
                pending.expiry.cancel()
            pending.done(what)

    def drop(self, seq: int) -> None:
        """Forgets a push that nobody waits for; it may be applied all the same."""
        self._end(seq, error("CANCELLED", "the push was given up"))

    def _expire(self, seq: int) -> None:
        self._end(
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
            self._end(seq, error("CANCELLED", "the session was closed"))


class Room:
    """Bytes that may be under way; who needs more waits, first come first served."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: collections.deque[tuple[int, asyncio.Future[None]]] = collections.deque()

    async def take(self, size: int) -> None:
        """Takes room for so many bytes; for more than there is in all, all of it."""
        size = min(size, self._limit)
        if not self._waiting and self._taken + size <= self._limit:
            self._taken += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)
            raise

    def give(self, size: int) -> None:
        """Gives it back."""
        self._taken -= min(size, self._limit)
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.done() and self._taken + wanted > self._limit:
                return
            self._waiting.popleft()
            if not turn.done():
                self._taken += wanted
                turn.set_result(None)


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
        self._room = Room(room)
        self.closed = False

    def acked_below(self) -> int:
        return next(iter(self._outstanding), self._last_seq + 1)

    @contextlib.contextmanager
    def remembered(self) -> Iterator[None]:
        """Pushes made inside are not forgotten by the shards before it ends."""
        guard = self._number()  # of no push
        try:
            yield
        finally:
            del self._outstanding[guard]

    def _number(self) -> int:
        self._last_seq += 1
        self._outstanding[self._last_seq] = None
        return self._last_seq

    async def send(
        self,
        messages: Sequence[Message],
        header: data_pb2.PushHeader,
        updated: Updated | None = None,
        checkpointed: bool = False,
        payload: bool = True,
    ) -> list[data_pb2.PushResponse]:
        """Sends messages until all are answered, and gives the answers.

        Args:
            header: what all messages of the push have in common.
            updated: takes the blocks as they are afterwards; None: they are not sent.
            checkpointed: the model is, so that a change of leader is to be noticed.
            payload: False: it was sent before, and only described now.

        Raises:
            TensorholdError: the first failure of any, when all have ended.
        """
        answers: list[Any] = [None] * len(messages)
        under_way: dict[int, Lane] = {}
        over = asyncio.Event()

        def begin(i: int, message: Message) -> None:
            own = data_pb2.PushHeader()
            own.CopyFrom(header)
            own.session, own.shard, own.seq = self.session, message.shard, self._number()
            own.without_payload = not payload
            if header.step:
                own.part, own.parts = message.part, message.parts
            if checkpointed:
                own.expect_term = self._terms.get(message.shard, 0)

            def done(what: data_pb2.PushResponse | TensorholdError) -> None:
                answers[i] = what
                del self._outstanding[own.seq]
                self._room.give(pending.bytes)
                del under_way[own.seq]
                if not under_way:
                    over.set()
                if not isinstance(what, TensorholdError):
                    self._answered(pending, what)

            pending = Pending(own, message, payload, updated, done)
            lane = under_way[own.seq] = self._lane(message.shard, updated is not None)
            lane.push(pending)

        try:
            for i, message in enumerate(messages):
                await self._room.take(sum(b.payload_bytes for b in message.blocks) * payload)
                if self.closed:
                    raise error("CANCELLED", "the session is closed")
                begin(i, message)
            while under_way:
                over.clear()
                await over.wait()
        except asyncio.CancelledError:
            for seq, lane in list(under_way.items()):
                lane.drop(seq)
            raise
        for answer in answers:
            if isinstance(answer, TensorholdError):
                raise answer
        return answers

    def _answered(self, pending: Pending, ack: data_pb2.PushResponse) -> None:
        self._terms[pending.message.shard] = ack.term
        self.pushed_bytes += pending.bytes
        if pending.payload:
            self.pushed_as_f32 += sum(block.f32_bytes for block in pending.message.blocks)

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
