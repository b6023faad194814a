"""How gradients are encoded on the wire, and what encoding left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tensorhold._blocks import BlockPart, Message, messages
from tensorhold._values import Array, checked, memory
from tensorhold.codecs import Codec, decode, encode
from tensorhold.errors import error
from tensorhold.model import Model, Parameter, codec_of


@dataclass(frozen=True)
class GradientCodec:
    """How the gradients of a worker are sent.

    Error feedback adds what encoding left out of one step to the gradient of the next: nothing is
    lost, it comes later (Seide et al., 2014; Karimireddy et al., 2019). It takes 4 bytes of the
    worker's memory an element. topk always has it.

    Args:
        codec: f32, f16, bf16, q8_0, q8_linear, q4_0, sign1 or topk.
        fraction: of a block's elements that topk sends, above 0 and at most 1.
    """

    codec: str = "f32"
    error_feedback: bool = False
    fraction: float = 1.0

    def __post_init__(self) -> None:
        form = codec_of(self.codec)
        if form in (Codec.RAW, Codec.NF4, Codec.FP8_E4M3):
            raise error("CODEC_INVALID", f"gradients can't be sent as {form.label}")
        if not 0 < self.fraction <= 1 or (self.fraction != 1 and form is not Codec.TOPK):
            raise error(
                "CODEC_INVALID",
                f"fraction: value={self.fraction} allowed=above 0 and at most 1, for topk",
            )
        if form is Codec.TOPK and not self.error_feedback:
            object.__setattr__(self, "error_feedback", True)

    @property
    def form(self) -> Codec:
        return codec_of(self.codec)


class Encoder:
    """Encodes the gradients of one worker's steps, and keeps what was left out."""

    def __init__(self) -> None:
        self.codec = GradientCodec()
        self.residuals: dict[int, NDArray[np.float32]] = {}

    def use(self, codec: GradientCodec) -> None:
        self.codec = codec
        if not codec.error_feedback:
            self.residuals.clear()

    def residual(self, parameter: Parameter) -> NDArray[np.float32]:
        """What is left out of a parameter's gradients so far: zeros at first."""
        known = self.residuals.get(parameter.id)
        if known is None:
            known = self.residuals[parameter.id] = np.zeros(parameter.elements, np.float32)
        return known

    def check(self, parameter: Parameter, gradient: Array) -> NDArray[np.float32]:
        """A gradient as flat f32.

        Raises:
            InvalidError: DTYPE_INVALID, SHAPE_INVALID; NONFINITE, unless the model takes it and no
                residual would keep it.
        """
        if not parameter.computable:
            raise error(
                "DTYPE_INVALID", f"{parameter.name} is {parameter.dtype}: it takes no gradients"
            )
        values, source = checked(parameter, gradient, parameter.shape)
        flat = values.reshape(-1)
        if source is not Codec.F32:
            flat = decode(source, flat.view(np.uint8), len(flat))
        kept = self.codec.error_feedback or not parameter.model.spec.allow_nonfinite
        # The sum of finite values may overflow: only then each is looked at.
        if kept and not np.isfinite(flat.sum()) and not np.isfinite(flat).all():
            bad = int(np.flatnonzero(~np.isfinite(flat))[0])
            raise error(
                "NONFINITE",
                f"value {bad} of the gradient of {parameter.name} is NaN or infinite: no bucket "
                f"that holds it was sent",
            )
        return flat

    def encode(self, parameter: Parameter, block: int, flat: NDArray[np.float32]) -> BlockPart:
        start = block * parameter.block_elements
        values = flat[start : start + parameter.elements_in(block)]
        form = self.codec.form
        if self.codec.error_feedback:
            kept = self.residual(parameter)[start : start + len(values)]
            kept += values
            data = encode(form, kept.copy() if form is Codec.F32 else kept, self.codec.fraction)
            kept -= decode(form, data, len(values))
        else:
            data = encode(form, values, self.codec.fraction)
        return BlockPart(parameter.id, block, form, [memory(data)], data.nbytes, 4 * len(values))


class StepPlan:
    """Which messages make a step: fixed before its first step, the same for all ranks.

    Args:
        buckets: parameters whose gradients are sent together, in the order they become ready.
    """

    def __init__(self, model: Model, buckets: Sequence[Sequence[Parameter]], codec: Codec) -> None:
        self.model = model
        self.buckets = [list(bucket) for bucket in buckets]
        self.messages: list[list[Message]] = []
        counts: dict[int, int] = {}
        last = len(self.buckets) - 1
        for i, bucket in enumerate(self.buckets):
            missing = [s for s in model.shards() if s not in counts] if i == last else []
            cut = messages(self._sizes(bucket, codec), model.shard_count, ())
            for message in cut:
                counts[message.shard] = counts.get(message.shard, 0) + 1
            cut += [Message(shard, 0, 1, ()) for shard in missing if shard not in counts]
            self.messages.append(cut)
        self.parts = {shard: counts.get(shard, 1) for shard in model.shards()}
        """How many messages each shard gets."""
        self._number(counts)

    def _sizes(self, bucket: Iterable[Parameter], codec: Codec) -> Iterable[BlockPart]:
        for parameter in bucket:
            for block in range(parameter.blocks):
                n = parameter.elements_in(block)
                yield BlockPart(parameter.id, block, codec, (), codec.bytes(n, 4), 4 * n)

    def _number(self, counts: Mapping[int, int]) -> None:
        seen: dict[int, int] = {}
        for cut in self.messages:
            for i, message in enumerate(cut):
                part = seen.get(message.shard, 0)
                seen[message.shard] = part + 1
                cut[i] = Message(
                    message.shard, part, max(1, counts.get(message.shard, 1)), message.blocks
                )

    def fill(
        self, bucket: int, gradients: Mapping[int, NDArray[np.float32]], encoder: Encoder
    ) -> list[Message]:
        """A bucket's messages with their payloads, from gradients by parameter id."""
        return [
            Message(
                message.shard,
                message.part,
                message.parts,
                [
                    encoder.encode(
                        self.model.by_id(block.parameter_id),
                        block.block,
                        gradients[block.parameter_id],
                    )
                    for block in message.blocks
                ],
            )
            for message in self.messages[bucket]
        ]


def in_order(parameters: Iterable[Parameter]) -> list[Parameter]:
    """By id, as the Java SDK sends them."""
    return sorted(parameters, key=lambda one: one.id)
