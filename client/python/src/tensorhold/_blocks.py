"""Blocks that are pushed: what of them travels together, and how it is described."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tensorhold._layout import shards_of
from tensorhold._pull import crc32c
from tensorhold._push import PUSH, PUSH_PULL, Pending, Updated
from tensorhold._transport import Piece, frame_prefix
from tensorhold.codecs import Codec
from tensorhold.v1 import data_pb2

PAYLOAD_BYTES = 1 << 20
"""Of one message, at most; and so one log entry."""
F32_BYTES = 4 << 20
"""What a message decodes to, at most, whatever codec makes it small: the mean of a bulk synchronous
step is an entry of the log as f32, and one that is too large is refused."""
BLOCKS = 1024


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


class BlockPush(Pending):
    """A message of blocks.

    Args:
        header: what all messages of the push have in common.
        updated: takes the blocks as they are afterwards; None: they are not sent.
        payload: False: it was sent before, and only described now.
    """

    def __init__(
        self,
        message: Message,
        header: data_pb2.PushHeader,
        updated: Updated | None = None,
        payload: bool = True,
    ) -> None:
        own = data_pb2.PushHeader(shard=message.shard, without_payload=not payload)
        own.MergeFrom(header)
        if header.step:
            own.part, own.parts = message.part, message.parts
        super().__init__(
            own,
            message.shard,
            PUSH if updated is None else PUSH_PULL,
            sum(one.payload_bytes for one in message.blocks) if payload else 0,
            sum(one.f32_bytes for one in message.blocks) if payload else 0,
            updated,
        )
        self._message = message
        self._payload = payload
        self._described: Sequence[data_pb2.BlockHeader] | None = None

    def encoded(self) -> Sequence[Piece]:
        if self._described is None:
            self._described = [_describe(block) for block in self._message.blocks]
        header = data_pb2.PushHeader(blocks=self._described)
        header.MergeFrom(self.header)
        prefix = frame_prefix(header, self.nbytes)
        if not self._payload:
            return [prefix]
        return [prefix, *(piece for block in self._message.blocks for piece in block.pieces)]


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
