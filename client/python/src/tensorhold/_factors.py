"""What all parts of a step have in common: the scale of a clipped gradient, LAMB's trust ratios.

Of a BSP model every rank gathers the sums of all shards and comes to the same factors; the protocol
is that of StepSums in data.proto. Otherwise a worker clips its own gradient.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence

import numpy as np

from tensorhold._blocks import BlockPart, Message
from tensorhold.codecs import decode
from tensorhold.errors import TensorholdError, error
from tensorhold.model import Model
from tensorhold.v1 import data_pb2

Exchange = Callable[[Message, data_pb2.StepFactors | None, bool], Awaitable[data_pb2.PushResponse]]
"""Sends a message with factors, or none; with its payload, or without one that was sent before."""


def has_trust(model: Model) -> bool:
    """Whether a parameter's steps take LAMB's ratio of norms."""
    return any(one.optimizer == "lamb" for one in model.values())


def gathers(model: Model) -> bool:
    """Whether the shards wait for the factors of a step."""
    return model.consistency == "bsp" and (model.clip_norm > 0 or has_trust(model))


def clips_its_own(model: Model) -> bool:
    """Whether a worker clips its gradient before it sends it."""
    return model.consistency != "bsp" and model.clip_norm > 0


def clip_scale(squares: float, limit: float) -> float:
    """What a gradient is multiplied by, as PyTorch's clip_grad_norm_ has it, as an f32."""
    if not math.isfinite(squares):
        raise _not_finite("the gradient")
    return float(np.float32(min(1.0, limit / (math.sqrt(squares) + 1e-6))))


def own_factors(model: Model, blocks: Iterable[BlockPart]) -> data_pb2.StepFactors:
    """The factors of a gradient that waits for no other, of its values as the server has them."""
    sums: dict[tuple[int, int], float] = {}
    for block in blocks:
        elements = block.f32_bytes // 4
        sent = block.pieces[0] if len(block.pieces) == 1 else b"".join(block.pieces)
        data = np.frombuffer(sent, np.uint8)
        values = decode(block.codec, data, elements).astype(np.float64)
        limit = model.by_id(block.parameter_id).clip_value
        if limit > 0:
            np.clip(values, -np.float32(limit), np.float32(limit), out=values)
        key = (block.parameter_id, block.block)
        sums[key] = sums.get(key, 0.0) + float(values @ values)
    total = sum(sums[key] for key in sorted(sums))
    return data_pb2.StepFactors(gradient_scale=clip_scale(total, model.clip_norm))


class GatheredFactors:
    """The part of a BSP step that comes after all of it was sent.

    Args:
        answers: to the messages, in their order.
    """

    def __init__(
        self,
        model: Model,
        messages: Sequence[Message],
        answers: Sequence[data_pb2.PushResponse],
        exchange: Exchange,
    ) -> None:
        self._model = model
        self._messages = messages
        self._answers = list(answers)
        self._exchange = exchange
        self._trust = has_trust(model)
        self._first = min(
            range(len(messages)), key=lambda i: (messages[i].shard, messages[i].part), default=0
        )

    async def run(self) -> None:
        """Returns when every shard has made its part."""
        while waiting := [i for i, one in enumerate(self._answers) if one.HasField("sums")]:
            if len(waiting) < len(self._answers):
                await self._send(waiting, self._made())
                continue
            scale = 1.0
            if self._model.clip_norm > 0:
                scale = clip_scale(self._total("gradient"), self._model.clip_norm)
            factors = data_pb2.StepFactors(gradient_scale=scale)
            otherwise = [
                i for i in waiting if self._answers[i].sums.gradient_scale != factors.gradient_scale
            ]
            if self._trust and otherwise:
                await self._send(otherwise, factors)
                continue
            if self._trust:
                factors.trust.extend(self._ratios())
            await self._send([self._first], factors)

    async def _send(self, which: Sequence[int], factors: data_pb2.StepFactors) -> None:
        async def one(i: int) -> None:
            try:
                answer = await self._exchange(self._messages[i], factors, False)
            except TensorholdError as failure:
                if failure.reason != "STEP_UNKNOWN":
                    raise
                # The shard has a new leader that does not know the part: all of it once more.
                answer = await self._exchange(self._messages[i], factors, True)
            self._answers[i] = answer

        ended = await asyncio.gather(*(one(i) for i in which), return_exceptions=True)
        for failure in ended:
            if failure is not None:
                raise failure

    def _made(self) -> data_pb2.StepFactors:
        """The factors of the parts that were made."""
        for answer in self._answers:
            if answer.HasField("factors"):
                return answer.factors
        raise error(
            "STEP_CLOSED",
            "the step is long past on some shards and not made on others: join again, and go on "
            "after the last step",
        )

    def _total(self, what: str, parameter: int | None = None) -> float:
        """A sum over blocks in the order that is fixed for it: by parameter id, then block."""
        terms = [
            ((block.parameter_id, block.block), getattr(answer.sums, what)[i])
            for message, answer in zip(self._messages, self._answers, strict=True)
            for i, block in enumerate(message.blocks)
            if parameter is None or block.parameter_id == parameter
        ]
        total = 0.0
        for _, term in sorted(terms):
            total += term
        return total

    def _ratios(self) -> list[float]:
        ratios = []
        for parameter in self._model.values():
            weights = self._total("weights", parameter.id)
            directions = self._total("directions", parameter.id)
            if not (math.isfinite(weights) and math.isfinite(directions)):
                raise _not_finite(parameter.name)
            whole = weights > 0 and directions > 0
            ratios.append(math.sqrt(weights / directions) if whole else 1.0)
        return ratios


def _not_finite(what: str) -> TensorholdError:
    return error(
        "NONFINITE",
        f"a norm of the step ({what}) is NaN or infinite, and so nothing was made of it: join "
        f"again and send another gradient",
    )
