"""What PyTorch's own tests of checkpoint storage ask for, asked of the store.

Their cases, in code of our own: test_file_system_checkpoint_cpu.py (modules, stateful objects,
ShardedTensors whose sharding changes), test_dtensor_resharding.py (DTensors whose mesh and
placements change) and test_save_load_api.py. Not here: what is about files (fsspec's streams,
extensions) and what needs GPUs (FSDP over NCCL).
"""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from ranks import run
from torch.distributed._shard import sharded_tensor
from torch.distributed._shard.sharding_spec import (
    ChunkShardingSpec,
    EnumerableShardingSpec,
    ShardMetadata,
)
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor, zeros

import tensorhold
from tensorhold.torch import StoreReader, StoreWriter


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(5, 5)
        self.second = torch.nn.Linear(5, 1)
        self.bag = torch.nn.EmbeddingBag(5, 10)


class Counter:
    """A stateful object, as dcp.save asks objects for their state."""

    def __init__(self, blob: bytes, seen: int) -> None:
        self.blob, self.seen = blob, seen

    def state_dict(self) -> dict[str, Any]:
        return {"blob": self.blob, "seen": self.seen, "weight": torch.full((3,), self.seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.blob, self.seen = state["blob"], state["seen"]
        assert state["weight"].tolist() == [self.seen] * 3


def test_a_module_comes_back_without_a_process_group(client, name):
    saved, loaded = Net().state_dict(), Net().state_dict()
    assert not torch.equal(saved["bag.weight"], loaded["bag.weight"])
    dcp.save(saved, storage_writer=StoreWriter(client, name), no_dist=True)
    dcp.load(loaded, storage_reader=StoreReader(client, name), no_dist=True)
    assert saved.keys() == loaded.keys()
    for key, tensor in saved.items():
        assert torch.equal(tensor, loaded[key]), key


def test_stateful_objects_come_back(client, name):
    state = {"net": Net(), "counter": Counter(b"\x00some blob\xff", 7)}
    dcp.save(state, storage_writer=StoreWriter(client, name), no_dist=True)
    into = {"net": Net(), "counter": Counter(b"", 0)}
    dcp.load(into, storage_reader=StoreReader(client, name), no_dist=True)
    assert (into["counter"].blob, into["counter"].seen) == (b"\x00some blob\xff", 7)
    for one, other in zip(state["net"].parameters(), into["net"].parameters(), strict=True):
        assert torch.equal(one, other)


def test_values_are_cast_to_the_template(client, name):
    wide, narrow = torch.rand(4, 3), torch.rand(4, 3).to(torch.bfloat16)
    dcp.save({"w": wide, "n": narrow}, storage_writer=StoreWriter(client, name), no_dist=True)
    into = {"w": torch.zeros(4, 3, dtype=torch.bfloat16), "n": torch.zeros(4, 3)}
    dcp.load(into, storage_reader=StoreReader(client, name), no_dist=True)
    assert torch.equal(into["w"], wide.to(torch.bfloat16))
    assert torch.equal(into["n"], narrow.float())


@pytest.mark.skipif(
    "allow_unsafe_types" not in inspect.signature(DefaultLoadPlanner.__init__).parameters,
    reason="this PyTorch casts always",
)
def test_a_strict_planner_refuses_narrowing(client, name):
    dcp.save({"w": torch.rand(4)}, storage_writer=StoreWriter(client, name), no_dist=True)
    into = {"w": torch.zeros(4, dtype=torch.bfloat16)}
    strict = DefaultLoadPlanner(allow_unsafe_types=False)
    with pytest.raises(dcp.api.CheckpointException, match="dtype mismatch"):
        dcp.load(into, storage_reader=StoreReader(client, name), planner=strict, no_dist=True)


def test_a_name_can_be_the_checkpoints_id(client, name):
    writer, reader = StoreWriter(client, "nobody"), StoreReader(client, "nobody")
    dcp.save({"w": torch.ones(4)}, checkpoint_id=name, storage_writer=writer, no_dist=True)
    into = {"w": torch.zeros(4)}
    dcp.load(into, checkpoint_id=name, storage_reader=reader, no_dist=True)
    assert into["w"].tolist() == [1] * 4
    with pytest.raises(tensorhold.UnknownError):
        client.model("nobody")


def test_what_is_lacking_and_what_does_not_fit_is_refused(client, name):
    dcp.save({"w": torch.ones(4)}, storage_writer=StoreWriter(client, name), no_dist=True)
    for into, message in (
        ({"v": torch.zeros(4)}, "Missing key"),
        ({"w": torch.zeros(5)}, "Size mismatch"),
    ):
        with pytest.raises(dcp.api.CheckpointException, match=message):
            dcp.load(into, storage_reader=StoreReader(client, name), no_dist=True)
    into = {"w": torch.zeros(4), "v": torch.zeros(2)}
    partial = DefaultLoadPlanner(allow_partial_load=True)
    dcp.load(into, storage_reader=StoreReader(client, name), planner=partial, no_dist=True)
    assert (into["w"].sum(), into["v"].sum()) == (4, 0)


# ShardedTensors: (10, 20) between two ranks


def shards(*of_rank: tuple[int, int, int]) -> EnumerableShardingSpec:
    """Rows first to end on a rank each."""
    return EnumerableShardingSpec(
        [
            ShardMetadata([first, 0], [end - first, 20], placement=f"rank:{rank}/cpu")
            for first, end, rank in of_rank
        ]
    )


def specs() -> list[Any]:
    return [
        ChunkShardingSpec(dim=0, placements=["rank:0/cpu", "rank:1/cpu"]),
        ChunkShardingSpec(dim=1, placements=["rank:1/cpu", "rank:0/cpu"]),
        ChunkShardingSpec(dim=0, placements=[f"rank:{r}/cpu" for r in (0, 1, 1, 0)]),
        shards((0, 2, 0), (2, 3, 1), (3, 6, 0), (6, 9, 1), (9, 10, 0)),
        shards((0, 8, 1), (8, 10, 0)),
    ]


def whole(seed: int) -> torch.Tensor:
    return torch.rand(10, 20, generator=torch.Generator().manual_seed(seed))


def sharded(spec: Any, values: torch.Tensor) -> Any:
    made = sharded_tensor.zeros(spec, 10, 20)
    for shard in made.local_shards():
        shard.tensor.copy_(part(values, shard))
    return made


def part(values: torch.Tensor, shard: Any) -> torch.Tensor:
    at = shard.metadata
    rows, columns = (slice(o, o + n) for o, n in zip(at.shard_offsets, at.shard_sizes, strict=True))
    return values[rows, columns]


def change_shards(rank: int, ranks: int, address: str, name: str) -> None:
    with tensorhold.connect(address) as client:
        for i, before in enumerate(specs()):
            state = {"t": sharded(before, whole(i)), "rank": 5}
            dcp.save(state, storage_writer=StoreWriter(client, f"{name}-{i}"))
            for after in specs():
                into = {"t": sharded(after, torch.zeros(10, 20)), "rank": 0}
                dcp.load(into, storage_reader=StoreReader(client, f"{name}-{i}"))
                assert into["rank"] == 5
                for shard in into["t"].local_shards():
                    assert torch.equal(shard.tensor, part(whole(i), shard)), (before, after)
            full = {"t": torch.zeros(10, 20)}  # a sharded tensor as a plain one
            dcp.load(full, storage_reader=StoreReader(client, f"{name}-{i}"))
            assert torch.equal(full["t"], whole(i))
        dcp.save({"t": whole(9)}, storage_writer=StoreWriter(client, name))  # and a plain one
        for after in specs():
            into = {"t": sharded(after, torch.zeros(10, 20))}
            dcp.load(into, storage_reader=StoreReader(client, name))
            for shard in into["t"].local_shards():
                assert torch.equal(shard.tensor, part(whole(9), shard)), after


def test_sharded_tensors_change_their_shards(server, name, tmp_path):
    run(change_shards, 2, tmp_path / "two", server.address, name)


# DTensors: one mesh of four ranks, and one of two by two

ONE = [(Shard(0),), (Shard(1),), (Replicate(),)]
TWO = list(itertools.product([Replicate(), Shard(0), Shard(1)], repeat=2))


def change_meshes(rank: int, ranks: int, address: str, name: str) -> None:
    line, square = init_device_mesh("cpu", (4,)), init_device_mesh("cpu", (2, 2))
    values = torch.arange(36, dtype=torch.float32).view(6, 6)  # not a multiple of the ranks
    layouts = [(line, p) for p in ONE] + [(square, p) for p in TWO]
    loaded = [
        {str(i): zeros([6, 6], device_mesh=mesh, placements=placements)}
        for i, (mesh, placements) in enumerate(layouts)
    ]
    with tensorhold.connect(address) as client:
        for i, (mesh, placements) in enumerate(layouts):
            tensor = distribute_tensor(values + i, mesh, placements)
            same = {str(j): tensor for j in range(len(layouts))}
            dcp.save(
                same,
                storage_writer=StoreWriter(client, f"{name}-{i}"),
                planner=DefaultSavePlanner(dedup_save_to_lowest_rank=i % 2 == 0),
            )
            into = {key: one for some in loaded for key, one in some.items()}
            dcp.load(into, storage_reader=StoreReader(client, f"{name}-{i}"))
            for j, one in into.items():
                assert torch.equal(one.full_tensor(), values + i), (layouts[i], layouts[int(j)])


def test_dtensors_change_their_mesh_and_placements(server, name, tmp_path):
    run(change_meshes, 4, tmp_path / "four", server.address, name)


def fail_together(rank: int, ranks: int, address: str, name: str) -> None:
    with tensorhold.connect(address) as client:
        value = object() if rank == 1 else 3
        with pytest.raises(dcp.api.CheckpointException) as failed:
            dcp.save({f"of {rank}": value}, storage_writer=StoreWriter(client, name))
        assert list(failed.value.failures) == [1]  # every rank hears of it
        dist.barrier()
        with pytest.raises(tensorhold.UnknownError):
            client.model(name)


def test_a_rank_that_fails_fails_the_save_on_all(server, name, tmp_path):
    run(fail_together, 2, tmp_path / "two", server.address, name)
