"""Rows of tables on their way: put in the order of the wire, split by server and by shard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensorhold._cluster import Cluster
from tensorhold._layout import shards_of_keys
from tensorhold._pull import Plain, crc32c
from tensorhold._push import PUSH_ROWS, Pending
from tensorhold._transport import Piece, frame_prefix
from tensorhold._values import memory
from tensorhold.codecs import Codec
from tensorhold.errors import TensorholdError, error, of_status
from tensorhold.tables import Table
from tensorhold.v1 import rows_pb2, types_pb2

MESSAGE_ROWS = 1 << 14
MESSAGE_BYTES = 1 << 20

Keys = NDArray[np.int64]
Values = NDArray[np.float32]


def rows_of_message(table: Table) -> int:
    """How many rows travel together."""
    return max(1, min(MESSAGE_ROWS, MESSAGE_BYTES // (4 * table.dim)))


class RowBatch:
    """Keys as the wire wants them: by shard, within a shard rising, each once."""

    def __init__(self, table: Table, asked: Keys, shards: int) -> None:
        distinct, inverse = np.unique(asked.reshape(-1), return_inverse=True)
        shard = shards_of_keys(table.id, distinct, shards)
        order = np.argsort(shard, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        self.keys: Keys = distinct[order]
        self.places = rank[inverse.reshape(-1)]
        """Where each of the caller's keys stands among `keys`."""
        self.starts = np.searchsorted(shard[order], np.arange(shards + 1)).tolist()
        """Where the keys of each shard begin; one more for the end."""


@dataclass(eq=False)
class _Asked:
    """A request that is not answered yet."""

    target: memoryview
    row_bytes: int
    done: asyncio.Future[rows_pb2.PullRowsHeader]


class RowPuller:
    """The pulls of rows from one server: any number over one stream, answered by their ids."""

    def __init__(self, cluster: Cluster, address: str) -> None:
        self._cluster, self._address = cluster, address
        self._asked: dict[int, _Asked] = {}
        self._last_id = 0
        self._call: Any = None
        self._reader: asyncio.Task[None] | None = None

    async def pull(
        self, request: rows_pb2.PullRowsRequest, target: memoryview, row_bytes: int
    ) -> rows_pb2.PullRowsHeader:
        """Sends a request; the rows that it is answered with fill the target from its start."""
        if self._call is None:
            self._call = self._cluster.stream(
                self._address, "Rows/PullRows", rows_pb2.PullRowsHeader, self
            )
            self._reader = asyncio.get_running_loop().create_task(self._read(self._call))
        self._last_id += 1
        request.id = self._last_id
        one = _Asked(target, row_bytes, asyncio.get_running_loop().create_future())
        self._asked[request.id] = one
        try:
            await self._call.write(Plain(request))
            return await one.done
        finally:
            self._asked.pop(request.id, None)

    async def _read(self, call: Any) -> None:
        failure = error("UNAVAILABLE", "the server ended the stream")
        try:
            async for header in call.headers():
                one = self._asked.get(header.id)
                if one is None or one.done.done():
                    continue
                if header.HasField("error"):
                    one.done.set_exception(of_status(header.error))
                else:
                    one.done.set_result(header)
        except TensorholdError as why:
            failure = why
        self._call = None
        call.cancel()
        for one in self._asked.values():
            if not one.done.done():
                one.done.set_exception(failure)

    def place(self, header: rows_pb2.PullRowsHeader) -> Sequence[memoryview]:
        """Where the rows of an answer go."""
        one = self._asked.get(header.id)
        if header.HasField("error"):
            return []
        if one is None:
            raise error("UNAVAILABLE", "rows came that nobody waits for")
        return [one.target[: one.target.nbytes - len(header.missing) * one.row_bytes]]

    def placed(self, header: rows_pb2.PullRowsHeader) -> None:
        """It is told in the loop, after it."""

    def close(self) -> None:
        if self._call is not None:
            self._call.cancel()
        if self._reader is not None:
            self._reader.cancel()


class RowPull:
    """One pull of rows: from all leaders side by side, again where it failed."""

    def __init__(self, cluster: Cluster, pullers: dict[str, RowPuller], table: Table) -> None:
        self._cluster, self._pullers, self._table = cluster, pullers, table
        self._ends = cluster.ends()

    async def run(self, keys: Keys, omitted: bool) -> tuple[Values, NDArray[np.bool_]]:
        """Rows in the order of the keys, and which of them were written before.

        Args:
            omitted: rows that were never written are left out: they are zeros here. Otherwise they
                are what the initializer says, and all count as written.
        """
        await self._cluster.map()
        batch = RowBatch(self._table, keys, self._cluster.shard_count)
        rows = np.empty((len(batch.keys), self._table.dim), np.float32)
        written = np.ones(len(batch.keys), np.bool_)
        await self._pull(batch, rows, written, 0, len(batch.keys), omitted, 0)
        return rows[batch.places], written[batch.places]

    async def _pull(
        self, batch: RowBatch, rows: Values, written: NDArray[np.bool_],
        first: int, end: int, omitted: bool, attempt: int,
    ) -> None:  # fmt: skip
        async def one(address: str | None, shards: list[rows_pb2.ShardRows], at: int) -> None:
            until = at + sum(some.count for some in shards)
            try:
                if address is None:
                    raise error("UNAVAILABLE", f"shard {shards[0].shard} has no leader now")
                part = rows[at:until]
                missing = await self._ask(address, shards, batch.keys[at:until], part, omitted)
            except TensorholdError as failure:
                if not failure.retryable or not await self._cluster.pause(attempt, self._ends):
                    raise
                await self._cluster.refresh(self._ends)
                await self._pull(batch, rows, written, at, until, omitted, attempt + 1)
                return
            if missing:
                there = np.ones(until - at, np.bool_)
                there[missing] = False
                part[there] = part[: until - at - len(missing)].copy()
                part[~there] = 0
                written[at:until] = there

        ended = await asyncio.gather(
            *(one(*run) for run in self._runs(batch, first, end)), return_exceptions=True
        )
        for failure in ended:
            if failure is not None:
                raise failure

    def _runs(
        self, batch: RowBatch, first: int, end: int
    ) -> list[tuple[str | None, list[rows_pb2.ShardRows], int]]:
        """Keys of the batch by leader, in requests of a size."""
        most = rows_of_message(self._table)
        runs: list[tuple[str | None, list[rows_pb2.ShardRows], int]] = []
        room = 0
        for shard, start in enumerate(batch.starts[:-1]):
            at, stop = max(first, start), min(end, batch.starts[shard + 1])
            leader = self._cluster.leader(shard)
            while at < stop:
                if room == 0 or runs[-1][0] != leader:
                    runs.append((leader, [], at))
                    room = most
                count = min(room, stop - at)
                runs[-1][1].append(rows_pb2.ShardRows(shard=shard, count=count))
                room, at = room - count, at + count
        return runs

    async def _ask(
        self, address: str, shards: list[rows_pb2.ShardRows], keys: Keys, rows: Values,
        omitted: bool,
    ) -> list[int]:  # fmt: skip
        model = self._table.model
        request = rows_pb2.PullRowsRequest(
            model_id=model.id,
            table_id=self._table.id,
            shards=shards,
            keys=keys.tolist(),
            codec=Codec.F32,  # type: ignore[arg-type]
            unseen=rows_pb2.UNSEEN_OMITTED if omitted else rows_pb2.UNSEEN_INITIAL,
            catalog_index=model.catalog_index,
            loading=model.loading,
        )
        puller = self._pullers.get(address)
        if puller is None:
            puller = self._pullers[address] = RowPuller(self._cluster, address)
        try:
            answer = await asyncio.wait_for(
                puller.pull(request, memory(rows), 4 * self._table.dim), self._cluster.deadline
            )
        except asyncio.TimeoutError:
            raise error(
                "DEADLINE_EXCEEDED", f"rows of {self._table.name} did not come in time"
            ) from None
        return list(answer.missing)


class RowPush(Pending):
    """A message of rows of one shard."""

    def __init__(self, header: rows_pb2.PushRowsHeader, values: Values) -> None:
        super().__init__(header, header.shard, PUSH_ROWS, values.nbytes, values.nbytes)
        self._values = values

    def encoded(self) -> Sequence[Piece]:
        data = memory(self._values)
        header = rows_pb2.PushRowsHeader(crc32c=crc32c(data))
        header.MergeFrom(self.header)
        return [frame_prefix(header, self.nbytes), data]

    def again(self) -> RowPush:
        """The same, to be numbered anew."""
        header = rows_pb2.PushRowsHeader()
        header.CopyFrom(self.header)
        return RowPush(header, self._values)


def row_pushes(
    table: Table, keys: object, values: Any, operation: int, shards: int, every_shard: bool = False
) -> list[RowPush]:
    """The messages of a push of rows; repeated keys are added up, of an assignment the last counts.

    Args:
        every_shard: gets one, though it be empty.

    Raises:
        InvalidError: KEYS_INVALID, DTYPE_INVALID, SHAPE_INVALID.
    """
    asked = table.checked_keys(keys)
    given = np.asarray(values)
    if given.dtype not in (np.float32, np.float16):
        raise error(
            "DTYPE_INVALID",
            f"rows of {table.name}: value={given.dtype} allowed=float32, float16; convert them "
            f"with astype",
        )
    if given.shape != (*asked.shape, table.dim):
        raise error(
            "SHAPE_INVALID",
            f"rows of {table.name}: value={list(given.shape)} "
            f"allowed={[*asked.shape, table.dim]} (the keys' shape, then {table.dim})",
        )
    flat = np.asarray(given, np.float32).reshape(-1, table.dim)
    batch = RowBatch(table, asked, shards)
    rows = np.zeros((len(batch.keys), table.dim), np.float32)
    if operation == types_pb2.ASSIGN or len(batch.keys) == len(flat):
        rows[batch.places] = flat
    else:
        np.add.at(rows, batch.places, flat)
    most = rows_of_message(table)
    pushes = []
    for shard in range(shards):
        start, stop = batch.starts[shard], batch.starts[shard + 1]
        for first in range(start, max(stop, start + every_shard), most):
            end = min(stop, first + most)
            header = rows_pb2.PushRowsHeader(
                model_id=table.model.id,
                table_id=table.id,
                shard=shard,
                operation=operation,  # type: ignore[arg-type]
                codec=Codec.F32,  # type: ignore[arg-type]
                keys=batch.keys[first:end].tolist(),
                catalog_index=table.model.catalog_index,
                loading=table.model.loading,
            )
            pushes.append(RowPush(header, rows[first:end]))
    return pushes
