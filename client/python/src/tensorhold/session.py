"""Sessions and workers: who pushes, and how far it has come. All coroutines; see client.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tensorhold._blocks import BlockPart, BlockPush, messages
from tensorhold._cluster import Cluster
from tensorhold._factors import clips_its_own, gathers, own_factors
from tensorhold._layout import bounds_of
from tensorhold._push import Pusher, Updated
from tensorhold._rows import row_pushes
from tensorhold._step import StepCore, StepRecord
from tensorhold._values import Array, checked, slice_parts, whole_parts
from tensorhold.codecs import Codec
from tensorhold.errors import DeadlineError, TensorholdError, error
from tensorhold.gradients import Encoder, StepPlan, in_order
from tensorhold.model import Model, Parameter
from tensorhold.tables import Table
from tensorhold.v1 import data_pb2, training_pb2, types_pb2

CALL_SECONDS = 5.0
OPERATIONS = {"assign": types_pb2.ASSIGN, "add": types_pb2.ADD, "gradient": types_pb2.GRADIENT}


def this_process() -> str:
    """A label for people."""
    return f"{socket.gethostname()} pid {os.getpid()}"


def operation_of(name: str) -> int:
    """The protocol's number of assign, add or gradient."""
    known = OPERATIONS.get(name)
    if known is None:
        raise error("REQUEST_INVALID", f'operation: value="{name}" allowed={", ".join(OPERATIONS)}')
    return int(known)


class SessionCore:
    """Pushes of one session, applied exactly once or not at all."""

    def __init__(self, cluster: Cluster, session: int, room: int) -> None:
        self.pusher = Pusher(cluster, session, room)
        self.cluster = cluster

    def parts(
        self,
        model: Model,
        values: Mapping[str, Any],
        index: Mapping[str, Any],
        codec: Codec | None,
    ) -> list[BlockPart]:
        """The blocks of several tensors, or of slices of them; nothing was sent when it raises."""
        parts: list[BlockPart] = []
        for name, array in values.items():
            parameter = model[name]
            if name in index:
                bounds = bounds_of(index[name], parameter.shape, name)
                shape = [stop - start for start, stop in bounds]
                flat, source = checked(parameter, _shaped(array, shape), shape)
                parts += slice_parts(parameter, bounds, flat, source)
            else:
                flat, source = checked(parameter, array, parameter.shape)
                parts += whole_parts(parameter, flat, source, codec)
        return parts

    async def push(
        self,
        model: Model,
        operation: str,
        parts: Iterable[BlockPart],
        updated: Updated | None = None,
    ) -> None:
        """Sends blocks; returns when all are acknowledged."""
        header = data_pb2.PushHeader(
            model_id=model.id,
            operation=operation_of(operation),  # type: ignore[arg-type]
            catalog_index=model.catalog_index,
            loading=model.loading,
            pull_codec=Codec.F32,  # type: ignore[arg-type]
        )
        if operation == "gradient" and clips_its_own(model):
            parts = list(parts)
            header.factors.CopyFrom(own_factors(model, parts))
        pushes = [BlockPush(one, header, updated) for one in messages(parts, model.shard_count)]
        await self.pusher.send(pushes, model.checkpointed)

    async def push_rows(self, table: Table, keys: Any, values: Any, operation: str) -> None:
        """Sends rows of a table; returns when all are acknowledged."""
        pushes = row_pushes(table, keys, values, operation_of(operation), self.cluster.shard_count)
        await self.pusher.send(pushes, table.model.checkpointed)

    def updated_into(self, model: Model, targets: Mapping[int, memoryview]) -> Updated:
        """Puts the f32 blocks of an answer where they belong."""

        def place(header: data_pb2.PushPullHeader) -> Sequence[memoryview]:
            places = []
            for block in header.blocks:
                parameter = model.by_id(block.parameter_id)
                start = 4 * block.block * parameter.block_elements
                size = 4 * parameter.elements_in(block.block)
                if block.payload_bytes != size:
                    raise error(
                        "PAYLOAD_LENGTH",
                        f"block {block.block} of {parameter.name}: value={block.payload_bytes} "
                        f"expected={size}",
                    )
                target = targets.get(block.parameter_id)
                places.append(
                    memoryview(bytearray(size)) if target is None else target[start : start + size]
                )
            return places

        return place

    def close(self) -> None:
        self.pusher.close()


def _shaped(array: Any, shape: Sequence[int]) -> Any:
    """Integers in an index take their dimension away; here it comes back."""
    if not isinstance(array, np.ndarray) or array.ndim >= len(shape):
        return array
    fits = [n for n in array.shape if n != 1] == [n for n in shape if n != 1]
    return array.reshape(shape) if fits else array


class WorkerCore:
    """A worker of a model: a rank, the session that holds it, and the step it goes on with."""

    def __init__(
        self,
        cluster: Cluster,
        model: Model,
        joined: training_pb2.JoinModelResponse,
        last_step: int,
        room: int,
    ) -> None:
        self.cluster = cluster
        self.model = model
        self.joined = joined
        self.session = SessionCore(cluster, joined.session, room)
        self.last_step = last_step
        self.encoder = Encoder()
        self.records: list[StepRecord] = []
        self._remembered = contextlib.ExitStack()
        self._beat = asyncio.get_running_loop().create_task(self._heart())

    @classmethod
    async def join(
        cls,
        cluster: Cluster,
        model: Model,
        rank: int | None,
        workers: int,
        label: str,
        lease: float,
        take_over: bool,
        room: int,
    ) -> WorkerCore:
        request = training_pb2.JoinModelRequest(
            model_id=model.id,
            workers=workers,
            label=label,
            lease_ms=round(1000 * lease),
            keep_holder=not take_over,
            nonce=random.getrandbits(63) | 1,
        )
        if rank is not None:
            if rank < 0:
                raise error("RANK_INVALID", f"rank: value={rank} allowed=from 0")
            request.rank = rank
        joined = await cluster.catalog(
            "Training/JoinModel", request, training_pb2.JoinModelResponse
        )
        claims = await asyncio.gather(
            *(
                cluster.shard_leader(
                    shard,
                    "Training/ClaimRank",
                    training_pb2.ClaimRankRequest(
                        model_id=model.id,
                        shard=shard,
                        session=joined.session,
                        catalog_index=joined.catalog_index,
                    ),
                    training_pb2.ClaimRankResponse,
                    CALL_SECONDS,
                )
                for shard in model.shards()
            )
        )
        last = min((claim.last_step for claim in claims), default=0)
        return cls(cluster, model, joined, last, room)

    def plan(self, buckets: Sequence[Sequence[Parameter]]) -> StepPlan:
        return StepPlan(self.model, buckets, self.encoder.codec.form)

    def begin(self, plan: StepPlan, targets: Mapping[str, Array] | None) -> StepCore:
        """Begins the next step; its buckets follow.

        Args:
            targets: f32 arrays that take the updated values; None: they are not sent.
        """
        step = StepCore(self, plan, self.last_step + 1, targets)
        self._remembered.close()  # of a step that was begun and never made
        if gathers(self.model):
            self._remembered.enter_context(self.session.pusher.remembered())
        return step

    def made(self, step: StepCore) -> None:
        """A step has been made by every shard."""
        self.last_step = step.number
        self._remembered.close()

    async def step(
        self,
        gradients: Mapping[str, Any],
        targets: Mapping[str, Array] | None,
        rows: Mapping[str, tuple[Any, Any]] | None = None,
    ) -> None:
        """A step of one bucket."""
        parameters = in_order([self.model[name] for name in gradients])
        step = self.begin(self.plan([parameters]), targets)
        step.with_rows(rows or {})
        step.send(0, gradients)
        await step.finish()

    async def explain(self, step: int, failure: DeadlineError) -> TensorholdError:
        """A step that no answer came for: the error says whom it waits for."""
        request = training_pb2.GetTrainingStatusRequest(model_id=self.model.id)
        waits = set()
        for server in (await self.cluster.map()).servers:
            with contextlib.suppress(TensorholdError):
                status = await self.cluster.unary(
                    server.address,
                    "Training/GetTrainingStatus",
                    request,
                    training_pb2.TrainingStatus,
                    CALL_SECONDS,
                )
                for shard in status.shards:
                    waits |= {
                        f"step {one.step} waits for rank {rank}"
                        for one in shard.waits
                        for rank in one.missing
                    }
        return error(
            "DEADLINE_EXCEEDED",
            f"step {step} of rank {self.joined.rank}: {failure.args[0]}; "
            + ("; ".join(sorted(waits)) or "no step is known to wait"),
        )

    async def _heart(self) -> None:
        request = training_pb2.HeartbeatRequest(session=self.joined.session)
        while True:
            await asyncio.sleep(self.joined.lease_ms / 3000)
            try:
                await self.cluster.catalog(
                    "Training/Heartbeat", request, training_pb2.HeartbeatResponse
                )
            except TensorholdError as failure:
                if failure.reason.startswith("SESSION_"):
                    return  # the next push says so

    async def close(self, leave: bool = True) -> None:
        """Leaves the model; without `leave` it goes as a killed process does."""
        self._beat.cancel()
        self.session.close()
        if leave:
            with contextlib.suppress(TensorholdError):  # its lease ends by itself
                await self.cluster.catalog(
                    "Training/Leave",
                    training_pb2.LeaveRequest(session=self.joined.session),
                    training_pb2.LeaveResponse,
                )
