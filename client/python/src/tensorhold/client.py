"""The client for programs without an event loop of their own; `tensorhold.aio` has the other."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tensorhold import aio
from tensorhold._loop import LoopThread
from tensorhold._values import Array
from tensorhold.codecs import Codec
from tensorhold.gradients import GradientCodec
from tensorhold.model import Model, Optimizer, Parameter, Tensor, codec_of
from tensorhold.session import SessionCore
from tensorhold.tables import Table, TableSpec
from tensorhold.v1 import catalog_pb2, cluster_pb2
from tensorhold.worker import Closing, Worker


def connect(
    servers: str | Sequence[str], deadline: float = 30.0, in_flight: int = aio.ROOM
) -> Client:
    """Connects to the cluster of any servers.

    Args:
        servers: `host:port`, several with commas between; the others are found through them.
        deadline: seconds of one operation, all retries included.
        in_flight: bytes of pushes of a session that may wait for their acknowledgement.

    Raises:
        UnavailableError: no server answered before the deadline.

    Example:
        with tensorhold.connect("127.0.0.1:7070") as client:
            weights = client.pull("bert")
    """
    loop = LoopThread.shared()
    return Client(loop, loop.run(aio.connect(servers, deadline, in_flight)))


class Client(Closing):
    """A connection to a cluster: it knows its servers, follows its leaders, retries what is safe.

    All methods raise TensorholdError, and may be called from any thread.
    """

    def __init__(self, loop: LoopThread, core: aio.AsyncClient) -> None:
        self._loop = loop
        self.core = core

    def __enter__(self) -> Client:
        return self

    def close(self) -> None:
        """Ends its sessions and connections; workers leave their models."""
        self._loop.run(self.core.close())

    def __repr__(self) -> str:
        return f"<tensorhold.Client of {', '.join(self.core.cluster.seeds)}>"

    def create_model(
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
        """Creates a model.

        Args:
            parameters: by name a Tensor, a TableSpec, a shape (f32), or an array, whose values are
                pushed before anyone sees the model. All other tensors are zeros.
            optimizer: what makes a step of a gradient; a kind or an Optimizer.
            consistency: asp, bsp or ssp; docs/training.md compares them.
            workers: ranks; 0: as many as join (not bsp).
            staleness: ssp: steps that a worker may be ahead of the slowest.
            on_straggler: wait, proceed or fail, after straggler_timeout seconds (0: 30); bsp and
                ssp. Empty: wait.
            durability: logged (every push is a log entry) or checkpointed.
            aliases: other names of parameters: for each the name of the parameter that it is.
            loading: hidden until `publish`.
        """
        return self._loop.run(
            self.core.create_model(
                name,
                parameters,
                optimizer=optimizer,
                consistency=consistency,
                workers=workers,
                staleness=staleness,
                on_straggler=on_straggler,
                straggler_timeout=straggler_timeout,
                durability=durability,
                allow_nonfinite=allow_nonfinite,
                metadata=metadata,
                aliases=aliases,
                loading=loading,
            )
        )

    def publish(self, model: Model) -> Model:
        """Makes a model visible that was being loaded."""
        return self._loop.run(self.core.publish(model))

    def model(self, name: str, loading: bool = False) -> Model:
        """The model of a name; `loading` finds one that is still being loaded, too."""
        return self._loop.run(self.core.model(name, loading))

    def wait_for_model(self, name: str) -> Model:
        """The model of a name, as soon as another process has created it, within the deadline."""
        return self._loop.run(self.core.wait_for_model(name))

    def list_models(
        self, prefix: str = "", loading: bool = False
    ) -> list[catalog_pb2.ListModelsResponse.Entry]:
        """Models whose names begin so, in order."""
        return self._loop.run(self.core.list_models(prefix, loading))

    def delete_model(self, name: str, loading: bool = False) -> None:
        """Deletes a model; its space is freed in the background."""
        self._loop.run(self.core.delete_model(name, loading))

    def cluster_map(self) -> cluster_pb2.ClusterMap:
        """The cluster's map, asked for now."""
        return self._loop.run(self.core.cluster_map())

    def checkpoint(self, model: Model | str) -> int:
        """Logs what changed of a CHECKPOINTED model on all shards; gives the number of blocks."""
        return self._loop.run(self.core.checkpoint(model))

    def pull(
        self,
        model: Model | str,
        names: Iterable[str] | None = None,
        *,
        codec: str | None = None,
        out: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Pulls whole tensors.

        What can be computed with comes as float32; of other dtypes the bytes come as they are.
        float32 is received straight into the array, without a copy in between.

        Args:
            names: which; None: all.
            codec: what travels; None: the stored form, which is decoded here.
            out: contiguous arrays to pull into: float32, float16, or uint16 for the bits of bf16.
        """
        return self._loop.run(self.core.pull(model, names, codec=codec, out=out))

    def pull_slice(
        self, parameter: Parameter, index: Any, *, codec: str | None = None,
        out: Array | None = None,
    ) -> Array:  # fmt: skip
        """Pulls a slice: `client.pull_slice(model["w"], numpy.s_[10:20, :])`.

        Integers, slices of step 1 and an ellipsis; only blocks that it touches travel.
        """
        return self._loop.run(self.core.pull_slice(parameter, index, codec=codec, out=out))

    def push(
        self,
        model: Model | str,
        values: Mapping[str, Any],
        operation: str = "assign",
        *,
        index: Mapping[str, Any] | None = None,
        codec: str | None = None,
    ) -> None:
        """Pushes tensors, or slices of them; returns when every shard has acknowledged.

        Applied once, whatever is retried. Nothing is sent when a value is not allowed.

        Args:
            values: arrays by name: float32 or float16, uint16 for the bits of bf16 to a bf16
                parameter, else the parameter's own dtype.
            operation: assign, add, or gradient (one step of the model's optimizer).
            index: by name the slice that the values are, as `pull_slice` takes it.
            codec: encodes the values on their way.
        """
        self._loop.run(self.core.push(model, values, operation, index=index, codec=codec))

    def push_pull(
        self,
        model: Model | str,
        values: Mapping[str, Any],
        operation: str = "add",
        *,
        codec: str | None = None,
        out: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Pushes tensors and gives them as float32 as they are then, in one round trip."""
        return self._loop.run(self.core.push_pull(model, values, operation, codec=codec, out=out))

    def pull_rows(self, table: Table, keys: Any) -> Array:
        """Pulls rows of a table: `client.pull_rows(model.table("users"), [7, 3, 7])`.

        A row that was never pushed to is what the table's initializer says; none is created.

        Args:
            keys: integers in any order and shape; a repeated one travels once.

        Returns:
            float32 of the keys' shape and the table's dim.
        """
        return self._loop.run(self.core.pull_rows(table, keys))

    def pull_written_rows(self, table: Table, keys: Any) -> tuple[Array, Array]:
        """Pulls rows that were pushed to: others are zeros, and False in the second array."""
        return self._loop.run(self.core.pull_written_rows(table, keys))

    def push_rows(self, table: Table, keys: Any, values: Any, operation: str = "assign") -> None:
        """Pushes rows of a table; returns when every shard has acknowledged.

        Each message of up to 1 MiB is applied once and whole, whatever is retried.

        Args:
            keys: integers. Values of a repeated key are added up; of assign the last counts.
            values: float32 or float16 of the keys' shape and the table's dim.
            operation: assign, add, or gradient: each row makes one step of the table's optimizer.
        """
        self._loop.run(self.core.push_rows(table, keys, values, operation))

    def session(self, label: str = "") -> Session:
        """Opens a session of its own for pushes that are no steps of a worker."""
        return Session(self._loop, self._loop.run(self.core.open_session(label)))

    def join(
        self,
        model: Model | str,
        rank: int | None = None,
        workers: int = 0,
        *,
        label: str = "",
        lease: float = 15.0,
        take_over: bool = True,
        gradients: GradientCodec | str | None = None,
    ) -> Worker:
        """Registers this process as a worker of a model.

        Args:
            rank: from 0; None: the lowest that is free.
            workers: ranks of the model, checked against its own; 0: not checked.
            label: for people; by default host and process.
            lease: seconds it may be silent before its session ends, 1 to 3600.
            take_over: a rank that is held goes to this worker, as it should when it was started
                again; otherwise it is refused (RANK_TAKEN).
            gradients: how they are sent; f32 at first.
        """
        core = self._loop.run(
            self.core.join(model, rank, workers, label=label, lease=lease, take_over=take_over)
        )
        worker = Worker(self._loop, core)
        if gradients is not None:
            worker.encode_gradients(gradients)
        return worker


class Session(Closing):
    """A registration whose pushes are applied exactly once, in the order they were made."""

    def __init__(self, loop: LoopThread, core: SessionCore) -> None:
        self._loop = loop
        self._core = core

    @property
    def id(self) -> int:
        """Its number, unique in the cluster."""
        return self._core.pusher.session

    def __enter__(self) -> Session:
        return self

    def close(self) -> None:
        async def close() -> None:
            self._core.close()

        self._loop.run(close())

    def __repr__(self) -> str:
        pusher = self._core.pusher
        return f"<tensorhold.Session {self.id}: {pusher.pushed_bytes:,} bytes pushed>"

    def push(
        self,
        model: Model,
        values: Mapping[str, Any],
        operation: str = "assign",
        *,
        index: Mapping[str, Any] | None = None,
        codec: str | None = None,
    ) -> concurrent.futures.Future[None]:
        """Begins a push as `Client.push` makes it; the arrays must stay unchanged till it ends."""
        asked: Codec | None = None if codec is None else codec_of(codec)
        parts = self._core.parts(model, values, index or {}, asked)
        return self._loop.start(self._core.push(model, operation, parts))

    def push_rows(
        self, table: Table, keys: Any, values: Any, operation: str = "assign"
    ) -> concurrent.futures.Future[None]:
        """Begins a push of rows as `Client.push_rows` makes it; the arrays are not kept."""
        return self._loop.start(self._core.push_rows(table, keys, values, operation))
