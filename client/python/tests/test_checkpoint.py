"""torch.distributed.checkpoint on the store, from four ranks to two and to three."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from ranks import run
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

import tensorhold
from tensorhold.torch import StoreReader, StoreWriter, delete_checkpoint

ROWS, COLUMNS = 70, 50


def whole() -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(3)
    return {
        "rows": torch.randn(ROWS, COLUMNS, generator=made),
        "columns": torch.randn(ROWS, COLUMNS, generator=made).to(torch.bfloat16),
        "ids": torch.arange(1001, dtype=torch.int64),
        "same": torch.randn(12, generator=made, dtype=torch.float64),
    }


def state(placements: dict[str, object], ranks: int, values: bool) -> dict[str, object]:
    mesh = init_device_mesh("cpu", (ranks,))
    full = whole()
    sharded: dict[str, object] = {
        key: distribute_tensor(one if values else torch.zeros_like(one), mesh, [placements[key]])
        for key, one in full.items()
    }
    return {
        "model": sharded,
        "step": 17 if values else 0,
        "note": ["a" if values else "", {"b": 1.5 if values else 0.0}],
    }


def save(rank: int, ranks: int, address: str, name: str) -> None:
    with tensorhold.connect(address) as client:
        placed = {"rows": Shard(0), "columns": Shard(1), "ids": Shard(0), "same": Replicate()}
        dcp.save(state(placed, ranks, True), storage_writer=StoreWriter(client, name))


def load(rank: int, ranks: int, address: str, name: str) -> None:
    with tensorhold.connect(address) as client:
        placed = {"rows": Shard(1), "columns": Shard(0), "ids": Replicate(), "same": Shard(0)}
        into = state(placed, ranks, False)
        dcp.load(into, storage_reader=StoreReader(client, name))
        for key, one in whole().items():
            assert torch.equal(into["model"][key].full_tensor(), one), key
        assert into["step"] == 17
        assert into["note"] == ["a", {"b": 1.5}]


def test_four_ranks_save_and_two_and_three_load(server, client, name, tmp_path):
    run(save, 4, tmp_path / "four", server.address, name)
    assert client.model(name)["model.rows"].shape == (ROWS, COLUMNS)
    np.testing.assert_array_equal(client.pull(name)["model.rows"], whole()["rows"].numpy())
    run(load, 2, tmp_path / "two", server.address, name)
    run(load, 3, tmp_path / "three", server.address, name)


def test_a_model_and_its_optimizer_come_back(client, name):
    """After PyTorch's own tests of storage: all of a training's state, saved and loaded."""

    def trained(seed: int, steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))
        rule = torch.optim.AdamW(net.parameters(), lr=1e-2)
        for _ in range(steps):
            rule.zero_grad()
            net(torch.randn(32, 8)).square().mean().backward()
            rule.step()
        return net, rule

    net, rule = trained(0, 5)
    of_net, of_rule = get_state_dict(net, rule)
    dcp.save({"net": of_net, "rule": of_rule}, storage_writer=StoreWriter(client, name))
    other, its_rule = trained(1, 1)
    of_other, of_its_rule = get_state_dict(other, its_rule)
    into = {"net": of_other, "rule": of_its_rule}
    dcp.load(into, storage_reader=StoreReader(client, name))
    for key, value in of_net.items():
        assert torch.equal(into["net"][key], value), key
    for key, slots in of_rule["state"].items():
        for slot, value in slots.items():
            assert torch.equal(into["rule"]["state"][key][slot], value), (key, slot)


def test_async_save_writes_what_was_there_when_it_began(client, name):
    tensor = torch.arange(300_000, dtype=torch.float32)
    expected = tensor.clone()
    saving = dcp.async_save({"t": tensor}, storage_writer=StoreWriter(client, name))
    tensor.zero_()
    saving.result()
    np.testing.assert_array_equal(client.pull(name)["t"], expected.numpy())


def test_part_of_a_checkpoint_is_loaded(client, name):
    dcp.save({"a": torch.ones(5), "b": torch.ones(7)}, storage_writer=StoreWriter(client, name))
    into = {"b": torch.zeros(7)}
    dcp.load(into, storage_reader=StoreReader(client, name))
    assert into["b"].sum() == 7


def test_a_checkpoint_is_replaced_only_if_that_is_asked_for(client, name):
    dcp.save({"a": torch.ones(5)}, storage_writer=StoreWriter(client, name))
    with pytest.raises(dcp.api.CheckpointException, match="MODEL_EXISTS"):
        dcp.save({"a": torch.zeros(5)}, storage_writer=StoreWriter(client, name))
    assert client.pull(name)["a"].sum() == 5
    dcp.save({"a": torch.zeros(6)}, storage_writer=StoreWriter(client, name, overwrite=True))
    assert client.pull(name)["a"].shape == (6,)
    delete_checkpoint(client, name)
    assert client.list_models(name) == []


class Custom:
    pass


def test_nothing_is_pickled(client, name):
    writer = StoreWriter(client, name)
    with pytest.raises(dcp.api.CheckpointException, match="nothing is pickled"):
        dcp.save({"a": torch.ones(5), "o": Custom()}, storage_writer=writer)
    with pytest.raises(tensorhold.UnknownError):
        client.model(name)
    dcp.save(
        {"a": torch.ones(5), "o": {"lr": 0.1}},
        storage_writer=StoreWriter(client, name, overwrite=True),
    )
    assert b"lr" in client.pull(name + ".objects")["json"].tobytes()
