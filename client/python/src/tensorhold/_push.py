"""Pushes: what a session sends, exactly once, whatever is retried.

A session numbers its pushes. Those to one shard go over one stream, in order; what is not
acknowledged is kept, and sent again the same, with the same numbers, to whoever leads the shard
when the stream breaks. The shard knows which of it was applied.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tensorhold._cluster import Cluster
from tensorhold._transport import Piece
from tensorhold.errors import TensorholdError, error, of_status
from tensorhold.v1 import data_pb2

PUSH, PUSH_PULL, PUSH_ROWS = "Blocks/Push", "Blocks/PushPull", "Rows/PushRows"

Updated = Callable[[Any], Sequence[memoryview]]
"""Where the blocks of a PushPull's answer go."""


class Pending:
    """A push that is not acknowledged yet.

    Args:
        header: its own, completed when it is numbered.
        shard: that it goes to.
        method: PUSH, PUSH_PULL or PUSH_ROWS.
        nbytes: of its payload.
        f32_bytes: what that is as f32.
        updated: takes the blocks of an answer to PUSH_PULL.
    """

    def __init__(
        self,
        header: Any,
        shard: int,
        method: str,
        nbytes: int,
        f32_bytes: int,
        updated: Updated | None = None,
    ) -> None:
        self.header, self.shard, self.method = header, shard, method
        self.nbytes, self.f32_bytes = nbytes, f32_bytes
        self.updated = updated
        self.done: Callable[[data_pb2.PushResponse | TensorholdError], None] = lambda _: None
        self.expiry: asyncio.TimerHandle | None = None

    def encoded(self) -> Sequence[Piece]:
        """The message as it is sent; checksums are made here, where the bytes are needed next."""
        raise NotImplementedError


class Lane:
    """The pushes of one session to one shard, over one stream at a time."""

    def __init__(self, pusher: Pusher, shard: int, method: str) -> None:
        self._pusher = pusher
        self._cluster = pusher.cluster
        self._shard = shard
        self._method = method
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
        with_blocks = self._method == PUSH_PULL
        kind = data_pb2.PushPullHeader if with_blocks else data_pb2.PushResponse
        call = self._cluster.stream(leader, self._method, kind, self if with_blocks else None)
        writer = asyncio.get_running_loop().create_task(self._write(call))
        try:
            async for header in call.headers():
                if with_blocks:
                    self._pusher.pulled_bytes += sum(one.payload_bytes for one in header.blocks)
                self._take(header.ack if with_blocks else header)
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
        self._lanes: dict[tuple[int, str], Lane] = {}
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
        self, pushes: Sequence[Pending], checkpointed: bool = False
    ) -> list[data_pb2.PushResponse]:
        """Sends pushes until all are answered, and gives the answers.

        Args:
            checkpointed: the model is, so that a change of leader is to be noticed.

        Raises:
            TensorholdError: the first failure of any, when all have ended.
        """
        answers: list[Any] = [None] * len(pushes)
        under_way: dict[int, Lane] = {}
        over = asyncio.Event()

        def begin(i: int, push: Pending) -> None:
            seq = self._number()
            push.header.session, push.header.seq = self.session, seq
            if checkpointed:
                push.header.expect_term = self._terms.get(push.shard, 0)

            def done(what: data_pb2.PushResponse | TensorholdError) -> None:
                answers[i] = what
                del self._outstanding[seq], under_way[seq]
                self._room.give(push.nbytes)
                if not under_way:
                    over.set()
                if not isinstance(what, TensorholdError):
                    self._terms[push.shard] = what.term
                    self.pushed_bytes += push.nbytes
                    self.pushed_as_f32 += push.f32_bytes

            push.done = done
            under_way[seq] = self._lane(push.shard, push.method)
            under_way[seq].push(push)

        try:
            for i, push in enumerate(pushes):
                await self._room.take(push.nbytes)
                if self.closed:
                    raise error("CANCELLED", "the session is closed")
                begin(i, push)
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

    def _lane(self, shard: int, method: str) -> Lane:
        lane = self._lanes.get((shard, method))
        if lane is None:
            lane = self._lanes[shard, method] = Lane(self, shard, method)
        return lane

    def close(self) -> None:
        self.closed = True
        for lane in self._lanes.values():
            lane.close()
