"""A step of a worker: buckets of gradients, sent as they come; it ends when all shards made it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tensorhold._blocks import BlockPush, Message
from tensorhold._factors import GatheredFactors, clips_its_own, gathers, own_factors
from tensorhold._push import Updated
from tensorhold._rows import RowPush, row_pushes
from tensorhold._values import Array, memory
from tensorhold.codecs import Codec
from tensorhold.errors import DeadlineError, error
from tensorhold.gradients import StepPlan
from tensorhold.v1 import data_pb2, types_pb2

if TYPE_CHECKING:
    from tensorhold.session import WorkerCore


@dataclass(frozen=True)
class StepRecord:
    """What one step took: seconds from its first message to its last answer, and bytes."""

    step: int
    seconds: float
    pushed_bytes: int
    pulled_bytes: int


class StepCore:
    """One step under way."""

    def __init__(
        self, worker: WorkerCore, plan: StepPlan, step: int, targets: Mapping[str, Array] | None
    ) -> None:
        self.number = step
        self._worker = worker
        self._plan = plan
        self._began = time.monotonic()
        pusher = worker.session.pusher
        self._before = (pusher.pushed_bytes, pusher.pulled_bytes)
        self._sends: list[asyncio.Future[Any]] = []
        self._filled: list[list[Message]] = []
        self._rows: list[RowPush] = []
        self._parts = dict(plan.parts)
        model = worker.model
        self._header = data_pb2.PushHeader(
            model_id=model.id,
            operation=types_pb2.GRADIENT,
            step=step,
            rank=worker.joined.rank,
            catalog_index=max(model.catalog_index, worker.joined.catalog_index),
            pull_codec=Codec.F32,  # type: ignore[arg-type]
        )
        self._clips = clips_its_own(model)
        self._updated: Updated | None = None
        if targets is not None:
            places = {}
            for name, array in targets.items():
                parameter = model[name]
                if array.dtype != np.float32 or array.size != parameter.elements:
                    raise error(
                        "DTYPE_INVALID",
                        f"updated values of {name}: value={array.dtype}{list(array.shape)} "
                        f"allowed=float32{list(parameter.shape)}",
                    )
                places[parameter.id] = memory(array)
            self._updated = worker.session.updated_into(model, places)

    def with_rows(self, rows: Mapping[str, tuple[Any, Any]]) -> None:
        """Gradients of rows become a part of the step; to be called before anything is sent."""
        model = self._worker.model
        for name, (keys, values) in rows.items():
            pushes = row_pushes(
                model.table(name), keys, values, types_pb2.GRADIENT, model.shard_count, True
            )
            flat = np.asarray(values)
            if not model.spec.allow_nonfinite and not np.isfinite(flat).all():
                raise error(
                    "NONFINITE", f"a gradient of {name} is NaN or infinite: nothing was sent"
                )
            for push in pushes:
                header = push.header
                header.step, header.rank = self.number, self._header.rank
                header.catalog_index = self._header.catalog_index
                header.part = self._parts[push.shard]
                self._parts[push.shard] += 1
            self._rows += pushes
        for push in self._rows:
            push.header.parts = self._parts[push.shard]

    def send(self, bucket: int, gradients: Mapping[str, Any]) -> None:
        """Sends a bucket's gradients; they must stay unchanged until the step has finished.

        A gradient that this worker clips by its norm is sent when all buckets are there.
        """
        encoder = self._worker.encoder
        flat: dict[int, NDArray[np.float32]] = {}
        for parameter in self._plan.buckets[bucket]:
            gradient = gradients.get(parameter.name)
            if gradient is None:
                raise error("REQUEST_INVALID", f"no gradient of {parameter.name} in the step")
            flat[parameter.id] = encoder.check(parameter, gradient)
        self._filled.append(self._plan.fill(bucket, flat, encoder))
        if not self._clips:
            self._start(self._filled[-1])
        if bucket == 0:
            self._start_rows()

    def again(self) -> None:
        """Sends a step that failed once more, the same bytes: shards that made it know it."""
        self._sends.clear()
        if not self._clips:
            for filled in self._filled:
                self._start(filled)
        self._start_rows()

    def _start_rows(self) -> None:
        if self._rows:
            pushes = [one.again() for one in self._rows]
            checkpointed = self._worker.model.checkpointed
            self._sends.append(
                asyncio.ensure_future(self._worker.session.pusher.send(pushes, checkpointed))
            )

    def _start(self, filled: Sequence[Message]) -> None:
        self._sends.append(asyncio.ensure_future(self._push(filled)))

    async def _push(
        self,
        filled: Sequence[Message],
        factors: data_pb2.StepFactors | None = None,
        payload: bool = True,
    ) -> list[data_pb2.PushResponse]:
        header = self._header
        if factors is not None:
            header = data_pb2.PushHeader(factors=factors)
            header.MergeFrom(self._header)
        session, model = self._worker.session, self._worker.model
        if self._rows:
            filled = [replace(one, parts=self._parts[one.shard]) for one in filled]
        pushes = [BlockPush(one, header, self._updated, payload) for one in filled]
        return await session.pusher.send(pushes, model.checkpointed)

    async def finish(self) -> None:
        """Returns when every shard has made the step; the worker's clock goes on then."""
        model = self._worker.model
        try:
            if self._clips:
                blocks = (one for filled in self._filled for m in filled for one in m.blocks)
                self._header.factors.CopyFrom(own_factors(model, blocks))
                for filled in self._filled:
                    self._start(filled)
            results = await asyncio.gather(*self._sends, return_exceptions=True)
            for failure in results:
                if isinstance(failure, BaseException):
                    raise failure
            if gathers(model):
                await self._gather([one for some in results for one in some])  # type: ignore[union-attr]
        except DeadlineError as failure:
            raise await self._worker.explain(self.number, failure) from None
        self._worker.made(self)
        pusher = self._worker.session.pusher
        self._worker.records.append(
            StepRecord(
                self.number,
                time.monotonic() - self._began,
                pusher.pushed_bytes - self._before[0],
                pusher.pulled_bytes - self._before[1],
            )
        )

    async def _gather(self, answers: Sequence[data_pb2.PushResponse]) -> None:
        messages = [one for filled in self._filled for one in filled]

        async def exchange(
            message: Message, factors: data_pb2.StepFactors | None, payload: bool
        ) -> data_pb2.PushResponse:
            return (await self._push([message], factors, payload))[0]

        await GatheredFactors(self._worker.model, messages, answers, exchange).run()
