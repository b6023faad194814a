"""Channels to the servers of a cluster, and who leads what, as last heard."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grpc

from tensorhold._call import PullCall, PushCall
from tensorhold._http2 import Pool
from tensorhold._transport import GrpcCall, Sink
from tensorhold.errors import DeadlineError, TensorholdError, error, of_rpc
from tensorhold.v1 import cluster_pb2, data_pb2

MAP_SECONDS = 2.0
ATTEMPT_SECONDS = 5.0
MESSAGE_BYTES = 8 << 20

_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.lookahead_bytes", 8 << 20),
    ("grpc.http2.max_frame_size", 256 << 10),
    ("grpc.http2.write_buffer_size", 2 << 20),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]

M = TypeVar("M")


class Cluster:
    """What all calls of a client share. Lives in one event loop.

    Args:
        servers: `host:port` of any servers of the cluster; the others are found through them.
        deadline: seconds of one operation, all retries included.
    """

    def __init__(self, servers: Sequence[str], deadline: float) -> None:
        for server in servers:
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise error("REQUEST_INVALID", f'server: value="{server}" allowed=HOST:PORT')
        if not servers:
            raise error("REQUEST_INVALID", "servers: at least one HOST:PORT")
        if not deadline > 0:
            raise error("REQUEST_INVALID", f"deadline: value={deadline} allowed=above 0 seconds")
        self.seeds = list(servers)
        self.deadline = deadline
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._map: cluster_pb2.ClusterMap | None = None
        self._pool = Pool()
        self.through_grpcio = False
        """Blocks go through grpcio too: slower, for comparison and as a way out."""
        self.closed = False

    def ends(self) -> float:
        """When an operation that begins now has to be over, by time.monotonic()."""
        return time.monotonic() + self.deadline

    def channel(self, address: str) -> grpc.aio.Channel:
        self._require_open()
        channel = self._channels.get(address)
        if channel is None:
            channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
            self._channels[address] = channel
        return channel

    def pull(
        self, address: str, sink: Sink[data_pb2.PullHeader], timeout: float, patience: float
    ) -> PullCall | GrpcCall[data_pb2.PullHeader]:
        """Opens a Pull.

        Args:
            timeout: seconds of the whole call.
            patience: seconds that the server may send nothing.
        """
        if self.through_grpcio:
            return GrpcCall(
                self.channel(address), "Blocks/Pull", data_pb2.PullHeader, sink, timeout
            )
        self._require_open()
        return PullCall(self._pool, address, sink, timeout, patience)

    def stream(
        self, address: str, method: str, header_type: Callable[[], Any], sink: Sink[Any] | None
    ) -> PushCall[Any] | GrpcCall[Any]:
        """Opens a stream of many requests and answers, such as Blocks/Push."""
        if self.through_grpcio:
            return GrpcCall(self.channel(address), method, header_type, sink, None)
        self._require_open()
        return PushCall(address, method, header_type, sink)

    def _require_open(self) -> None:
        if self.closed:
            raise error("CANCELLED", "the client is closed")

    async def unary(
        self, address: str, method: str, request: Any, answer: type[M], seconds: float
    ) -> M:
        """One call of one server, no retries."""
        call = self.channel(address).unary_unary(
            f"/tensorhold.v1.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,  # type: ignore[attr-defined]
        )
        try:
            return await call(request, timeout=seconds)
        except grpc.RpcError as failure:
            raise of_rpc(failure) from None

    async def map(self) -> cluster_pb2.ClusterMap:
        """The map as last heard."""
        return self._map if self._map is not None else await self.refresh(self.ends())

    @property
    def shard_count(self) -> int:
        assert self._map is not None, "the map is asked for when a client connects"
        return self._map.shard_count

    async def refresh(self, ends: float) -> cluster_pb2.ClusterMap:
        """Asks every server that is known; believes for each shard the highest term."""
        attempt = 0
        while True:
            addresses = list(
                dict.fromkeys([*(s.address for s in self._map.servers), *self.seeds])
                if self._map is not None
                else self.seeds
            )
            answers = await asyncio.gather(
                *(
                    self.unary(
                        address,
                        "Cluster/GetClusterMap",
                        cluster_pb2.GetClusterMapRequest(),
                        cluster_pb2.ClusterMap,
                        MAP_SECONDS,
                    )
                    for address in addresses
                ),
                return_exceptions=True,
            )
            maps = [a for a in answers if isinstance(a, cluster_pb2.ClusterMap)]
            if maps:
                self._map = _merge(maps)
                return self._map
            failures = [str(a) for a in answers if isinstance(a, TensorholdError)]
            if not await self.pause(attempt, ends):
                raise error(
                    "UNAVAILABLE",
                    f"no server of the cluster answers ({', '.join(addresses)}): "
                    f"{failures[-1] if failures else 'no reason is known'}; is one running there? "
                    f"`tensorhold server` starts one",
                )
            attempt += 1

    def address(self, server_id: str) -> str | None:
        for server in self._map.servers if self._map is not None else ():
            if server.id == server_id:
                return server.address
        return None

    def leader(self, shard: int) -> str | None:
        """Address of the server that leads a shard, if one is known to."""
        assert self._map is not None
        return self.address(self._map.shards[shard].leader)

    async def catalog(self, method: str, request: Any, answer: type[M]) -> M:
        """Calls the catalog's leader, wherever it is, until it answers or the deadline passes."""
        ends = self.ends()
        known = await self.map()
        following = self.address(known.catalog_leader)
        attempt = 0
        while True:
            try:
                if following is None:
                    raise error("UNAVAILABLE", "the catalog has no leader now")
                return await self.unary(following, method, request, answer, ATTEMPT_SECONDS)
            except TensorholdError as failure:
                if not failure.retryable and not isinstance(failure, DeadlineError):
                    raise
                hint = failure.details.get("leader")
                if hint and hint != following:
                    following = hint
                    continue
                if not await self.pause(attempt, ends):
                    raise
            attempt += 1
            known = await self.refresh(ends)
            following = self.address(known.catalog_leader)

    async def shard_leader(
        self, shard: int, method: str, request: Any, answer: type[M], seconds: float
    ) -> M:
        """Calls the leader of a shard, wherever it is."""
        ends = self.ends()
        await self.map()
        attempt = 0
        while True:
            leader = self.leader(shard)
            failure = error("UNAVAILABLE", f"shard {shard} has no leader now")
            if leader is not None:
                try:
                    return await self.unary(leader, method, request, answer, seconds)
                except TensorholdError as refused:
                    failure = refused
            again = failure.retryable or isinstance(failure, DeadlineError)
            if not again or not await self.pause(attempt, ends):
                raise failure
            attempt += 1
            await self.refresh(ends)

    async def pause(self, attempt: int, ends: float) -> bool:
        """Waits a little longer with each attempt, no two clients alike; False: no time is left."""
        base = 0.05 * 2 ** min(attempt, 4)
        wait = base * (0.5 + random.random())
        if self.closed or time.monotonic() + wait > ends:
            return False
        await asyncio.sleep(wait)
        return True

    async def close(self) -> None:
        self.closed = True
        self._pool.close()
        for channel in self._channels.values():
            await channel.close()


def _merge(maps: Sequence[cluster_pb2.ClusterMap]) -> cluster_pb2.ClusterMap:
    merged = cluster_pb2.ClusterMap()
    merged.CopyFrom(max(maps, key=lambda one: one.epoch))
    for other in maps:
        for mine, seen in zip(merged.shards, other.shards, strict=False):
            later = seen.term > mine.term or (seen.term == mine.term and not mine.leader)
            if seen.leader and later:
                mine.leader, mine.term = seen.leader, seen.term
        if not merged.catalog_leader:
            merged.catalog_leader = other.catalog_leader
    return merged
