"""The client for asyncio; `tensorhold.Client` is the same for programs without it.

async with await tensorhold.aio.connect("127.0.0.1:7070") as client:
    values = await client.pull("bert")
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tensorhold._cluster import Cluster
from tensorhold._layout import bounds_of
from tensorhold._pull import BlockPull
from tensorhold._rows import RowPull, RowPuller
from tensorhold._values import (
    Array,
    check_out,
    new_array,
    slice_targets,
    whole_targets,
    wire_codec,
)
from tensorhold._values import memory as memory_of
from tensorhold.errors import error
from tensorhold.model import Model, Optimizer, Parameter, Tensor, codec_of, dtype_of
from tensorhold.session import SessionCore, WorkerCore, this_process
from tensorhold.tables import Table, TableSpec
from tensorhold.v1 import catalog_pb2, cluster_pb2, data_pb2, types_pb2

ROOM = 64 << 20

ModelOrName = Model | str


async def connect(
    servers: str | Sequence[str], deadline: float = 30.0, in_flight: int = ROOM
) -> AsyncClient:
    """Connects to the cluster of any servers; see `tensorhold.connect`."""
    names = servers.split(",") if isinstance(servers, str) else list(servers)
    if in_flight < 1 << 20:
        raise error("REQUEST_INVALID", f"in_flight: value={in_flight} allowed=at least 1 MiB")
    client = AsyncClient(Cluster([name.strip() for name in names], deadline), in_flight)
    try:
        await client.cluster.map()
    except BaseException:
        await client.close()
        raise
    return client


class AsyncClient:
    """A connection to a cluster: it knows its servers, follows its leaders, retries what is safe.

    All methods raise TensorholdError. Use it in the event loop it was made in.
    """

    def __init__(self, cluster: Cluster, room: int) -> None:
        self.cluster = cluster
        self._room = room
        self._sessions: list[SessionCore] = []
        self._workers: list[WorkerCore] = []
        self._own: asyncio.Task[SessionCore] | None = None
        self._row_pullers: dict[str, RowPuller] = {}

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends its sessions and connections; workers leave their models."""
        await asyncio.gather(*(worker.close() for worker in self._workers))
        for session in self._sessions:
            session.close()
        for puller in self._row_pullers.values():
            puller.close()
        await self.cluster.close()

    # Models

    async def create_model(
        self,
        name: str,
        parameters: Mapping[str, Tensor | TableSpec | Sequence[int] | Array],
        *,
        optimizer: Optimizer | str | None = None,
        consistency: str = "asp",
        workers: int = 0,
        staleness: int = 0,
        on_straggler: str = "",
        straggler_timeout: float = 0,
        durability: str = "logged",
        allow_nonfinite: bool = False,
        metadata: Mapping[str, str] | None = None,
        aliases: Mapping[str, str] | None = None,
        loading: bool = False,
    ) -> Model:
        """Creates a model; see `tensorhold.Client.create_model`."""
        arrays = {key: value for key, value in parameters.items() if isinstance(value, np.ndarray)}
        spec = types_pb2.ModelSpec(
            name=name,
            parameters=[_tensor(value).to_proto(key) for key, value in parameters.items()],
            durability=_enum(types_pb2.Durability, "durability", durability),
            consistency=_enum(types_pb2.Consistency, "consistency", consistency),
            workers=workers,
            staleness=staleness,
            on_straggler=_enum(types_pb2.StragglerPolicy, "on_straggler", on_straggler),
            straggler_timeout_ms=round(1000 * straggler_timeout),
            allow_nonfinite=allow_nonfinite,
            metadata=dict(metadata or {}),
        )
        dims = {tensor.name: tensor.dims for tensor in spec.parameters}
        for alias, of in (aliases or {}).items():
            spec.aliases.add(name=alias, of=of, dims=dims.get(of, ()))
        if optimizer is not None:
            known = Optimizer(optimizer) if isinstance(optimizer, str) else optimizer
            spec.optimizer.CopyFrom(known.to_proto())
        hidden = loading or bool(arrays)
        request = catalog_pb2.CreateModelRequest(spec=spec, loading=hidden)
        model = self._model(
            await self.cluster.catalog("Catalog/CreateModel", request, types_pb2.Model)
        )
        if arrays:
            try:
                await self.push(model, arrays)
            except BaseException:
                await self.delete_model(name, loading=True)
                raise
            if not loading:
                return await self.publish(model)
        return model

    async def publish(self, model: Model) -> Model:
        """Makes a model visible that was being loaded."""
        request = catalog_pb2.PublishModelRequest(model_id=model.id)
        return self._model(
            await self.cluster.catalog("Catalog/PublishModel", request, types_pb2.Model)
        )

    async def model(self, name: str, loading: bool = False) -> Model:
        """The model of a name; `loading` finds one that is still being loaded, too."""
        request = catalog_pb2.DescribeModelRequest(name=name, loading=loading)
        return self._model(
            await self.cluster.catalog("Catalog/DescribeModel", request, types_pb2.Model)
        )

    async def wait_for_model(self, name: str) -> Model:
        """The model of a name, as soon as it is there, or the error that it is not in time."""
        ends = self.cluster.ends()
        attempt = 0
        while True:
            try:
                return await self.model(name)
            except LookupError:
                if not await self.cluster.pause(attempt, ends):
                    raise
            attempt += 1

    async def list_models(
        self, prefix: str = "", loading: bool = False
    ) -> list[catalog_pb2.ListModelsResponse.Entry]:
        """Models whose names begin so, in order."""
        found: list[catalog_pb2.ListModelsResponse.Entry] = []
        more = True
        while more:
            page = await self.cluster.catalog(
                "Catalog/ListModels",
                catalog_pb2.ListModelsRequest(
                    prefix=prefix, loading=loading, after=found[-1].name if found else ""
                ),
                catalog_pb2.ListModelsResponse,
            )
            found += page.models
            more = page.more
        return found

    async def delete_model(self, name: str, loading: bool = False) -> None:
        """Deletes a model; its space is freed in the background."""
        await self.cluster.catalog(
            "Catalog/DeleteModel",
            catalog_pb2.DeleteModelRequest(name=name, loading=loading),
            catalog_pb2.DeleteModelResponse,
        )

    async def cluster_map(self) -> cluster_pb2.ClusterMap:
        """The cluster's map, asked for now."""
        return await self.cluster.refresh(self.cluster.ends())

    async def checkpoint(self, model: ModelOrName) -> int:
        """Logs what changed of a CHECKPOINTED model on all shards; gives the number of blocks."""
        known = await self._known(model)
        done = await asyncio.gather(
            *(
                self.cluster.shard_leader(
                    shard,
                    "Blocks/Checkpoint",
                    data_pb2.CheckpointRequest(model_id=known.id, shard=shard),
                    data_pb2.CheckpointResponse,
                    self.cluster.deadline,
                )
                for shard in range(self.cluster.shard_count)
            )
        )
        return sum(one.blocks for one in done)

    def _model(self, message: types_pb2.Model) -> Model:
        return Model(message, self.cluster.shard_count)

    async def _known(self, model: ModelOrName) -> Model:
        return model if isinstance(model, Model) else await self.model(model)

    # Values

    async def pull(
        self,
        model: ModelOrName,
        names: Iterable[str] | None = None,
        *,
        codec: str | None = None,
        out: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Pulls tensors; see `tensorhold.Client.pull`."""
        known = await self._known(model)
        asked = None if codec is None else codec_of(codec)
        into, targets, copies = whole_targets(
            known, known if names is None else names, asked, out or {}
        )
        await asyncio.gather(
            *(
                BlockPull(self.cluster, known, blocks, int(sent), known.loading).run()
                for (sent, _), blocks in targets.items()
            )
        )
        for array, pulled in copies:
            np.copyto(array, pulled)
        return into

    async def pull_slice(
        self, parameter: Parameter, index: Any, *, codec: str | None = None,
        out: Array | None = None,
    ) -> Array:  # fmt: skip
        """Pulls a slice of a tensor; see `tensorhold.Client.pull_slice`."""
        bounds = bounds_of(index, parameter.shape, parameter.name)
        shape = [stop - start for start, stop in bounds]
        keys = index if isinstance(index, tuple) else (index,)
        kept = _kept(keys, shape)
        array = new_array(parameter, shape) if out is None else out.reshape(shape)
        check_out(parameter, array, shape)
        sent = wire_codec(parameter, None if codec is None else codec_of(codec), sliced=True)
        targets = slice_targets(parameter, bounds, sent, array)
        await BlockPull(
            self.cluster, parameter.model, targets, int(sent), parameter.model.loading
        ).run()
        return array.reshape(kept) if out is None else out

    async def push(
        self,
        model: ModelOrName,
        values: Mapping[str, Any],
        operation: str = "assign",
        *,
        index: Mapping[str, Any] | None = None,
        codec: str | None = None,
    ) -> None:
        """Pushes tensors or slices; see `tensorhold.Client.push`."""
        known = await self._known(model)
        session = await self.own_session()
        asked = None if codec is None else codec_of(codec)
        await session.push(known, operation, session.parts(known, values, index or {}, asked))

    async def push_pull(
        self,
        model: ModelOrName,
        values: Mapping[str, Any],
        operation: str = "add",
        *,
        codec: str | None = None,
        out: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Pushes tensors and gives them as they are then; see `tensorhold.Client.push_pull`."""
        known = await self._known(model)
        session = await self.own_session()
        asked = None if codec is None else codec_of(codec)
        parts = session.parts(known, values, {}, asked)
        into = {}
        for name in values:
            array = (out or {}).get(name)
            into[name] = new_array(known[name], known[name].shape) if array is None else array
            if into[name].dtype != np.float32 or not into[name].flags.c_contiguous:
                raise error("DTYPE_INVALID", f"out of {name} must be contiguous float32")
        places = {known[name].id: memory_of(array) for name, array in into.items()}
        await session.push(known, operation, parts, session.updated_into(known, places))
        return into

    # Rows of tables

    async def pull_rows(self, table: Table, keys: Any) -> Array:
        """Pulls rows; see `tensorhold.Client.pull_rows`."""
        asked = table.checked_keys(keys)
        rows, _ = await RowPull(self.cluster, self._row_pullers, table).run(asked, False)
        return rows.reshape(*asked.shape, table.dim)

    async def pull_written_rows(self, table: Table, keys: Any) -> tuple[Array, Array]:
        """Pulls rows that were pushed to; see `tensorhold.Client.pull_written_rows`."""
        asked = table.checked_keys(keys)
        rows, written = await RowPull(self.cluster, self._row_pullers, table).run(asked, True)
        return rows.reshape(*asked.shape, table.dim), written.reshape(asked.shape)

    async def push_rows(
        self, table: Table, keys: Any, values: Any, operation: str = "assign"
    ) -> None:
        """Pushes rows; see `tensorhold.Client.push_rows`."""
        session = await self.own_session()
        await session.push_rows(table, keys, values, operation)

    # Sessions

    async def open_session(self, label: str = "") -> SessionCore:
        """Opens a session for pushes that are no steps of a worker."""
        request = catalog_pb2.OpenSessionRequest(label=label or this_process())
        opened = await self.cluster.catalog(
            "Catalog/OpenSession", request, catalog_pb2.OpenSessionResponse
        )
        session = SessionCore(self.cluster, opened.session, self._room)
        self._sessions.append(session)
        return session

    async def own_session(self) -> SessionCore:
        """The session of this client's pushes, opened with the first of them."""
        if self._own is None or (self._own.done() and self._own.exception() is not None):
            self._own = asyncio.get_running_loop().create_task(self.open_session())
        return await asyncio.shield(self._own)

    async def join(
        self,
        model: ModelOrName,
        rank: int | None = None,
        workers: int = 0,
        *,
        label: str = "",
        lease: float = 15.0,
        take_over: bool = True,
    ) -> WorkerCore:
        """Registers a worker of a model; see `tensorhold.Client.join`."""
        worker = await WorkerCore.join(
            self.cluster,
            await self._known(model),
            rank,
            workers,
            label or this_process(),
            lease,
            take_over,
            self._room,
        )
        self._workers.append(worker)
        return worker


def _kept(keys: Sequence[Any], shape: Sequence[int]) -> list[int]:
    """The shape that NumPy's indexing leaves: integers take their dimension away."""
    if Ellipsis in keys:
        at = list(keys).index(Ellipsis)
        rest = len(shape) - (len(keys) - 1)
        keys = [*keys[:at], *([slice(None)] * rest), *keys[at + 1 :]]
    return [size for i, size in enumerate(shape) if i >= len(keys) or isinstance(keys[i], slice)]


def _tensor(value: Tensor | TableSpec | Sequence[int] | Array) -> Tensor | TableSpec:
    if isinstance(value, (Tensor, TableSpec)):
        return value
    if isinstance(value, np.ndarray):
        return Tensor(value.shape, dtype_of(value.dtype))
    return Tensor(tuple(value))


def _enum(kind: Any, what: str, name: str) -> Any:
    if not name:
        return 0
    names = kind.keys()
    if name.upper() not in names:
        allowed = ", ".join(names[1:]).lower()
        raise error("REQUEST_INVALID", f'{what}: value="{name}" allowed={allowed}')
    return kind.Value(name.upper())


__all__ = ["AsyncClient", "connect"]
