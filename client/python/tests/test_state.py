"""State dicts in the store."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import tensorhold
from tensorhold.torch import create_from_module, pull_state_dict, push_state_dict

EVERY = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16, torch.int32,
    torch.float32, torch.complex64, torch.float64, torch.int64, torch.float8_e4m3fn,
    torch.float8_e5m2,
]  # fmt: skip


def test_every_dtype_comes_back_bit_for_bit(client, name):
    base = torch.randn(300, 7)
    state = {str(dtype): base.to(dtype) for dtype in EVERY}
    push_state_dict(client, name, state)
    pulled = pull_state_dict(client, name)
    for key, one in state.items():
        assert pulled[key].dtype == one.dtype
        assert pulled[key].shape == one.shape
        same = pulled[key].view(torch.uint8) == one.contiguous().view(torch.uint8)
        assert bool(same.all()), key


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_is_converted_on_the_way(client, name, dtype):
    w = torch.randn(1000)
    push_state_dict(client, name, {"w": w})
    assert torch.equal(pull_state_dict(client, name, dtype=dtype)["w"], w.to(dtype))
    into = {"w": torch.empty(1000, dtype=dtype)}
    pull_state_dict(client, name, into)
    assert torch.equal(into["w"], w.to(dtype))


def test_a_module_is_filled_in_place(client, name):
    net, other = nn.Linear(30, 20), nn.Linear(30, 20)
    create_from_module(client, name, net, codec="q8_0")
    memory = other.weight.data_ptr()
    pull_state_dict(client, name, other)
    assert other.weight.data_ptr() == memory
    assert 0 < float((net.weight - other.weight).detach().abs().max()) < 0.01


def test_tied_tensors_are_stored_once(client, name):
    net = nn.ModuleDict({"in": nn.Embedding(50, 8), "out": nn.Linear(8, 50, bias=False)})
    net["out"].weight = net["in"].weight
    model = create_from_module(client, name, net)
    assert list(model) == ["in.weight"]
    pulled = pull_state_dict(client, name)
    assert pulled["out.weight"] is pulled["in.weight"]
    fresh = nn.ModuleDict({"in": nn.Embedding(50, 8), "out": nn.Linear(8, 50, bias=False)})
    pull_state_dict(client, name, fresh)  # not tied there: both are filled
    assert torch.equal(fresh["out"].weight, net["in"].weight)
    push_state_dict(client, model, net.state_dict())


def test_tied_tensors_are_aliases(client, name):
    net = nn.ModuleDict({"in": nn.Embedding(50, 8), "out": nn.Linear(8, 50, bias=False)})
    net["out"].weight = net["in"].weight
    model = create_from_module(client, name, net)
    assert model.aliases == {"out.weight": "in.weight"}
    assert model["out.weight"] is model["in.weight"]
    client.push(model, {"out.weight": np.ones((50, 8), np.float32)})
    client.push(model, {"in.weight": np.ones((50, 8), np.float32)}, "add")
    both = client.pull(model, ["in.weight", "out.weight"])
    assert both["in.weight"] is both["out.weight"]
    assert (both["in.weight"] == 2).all()
    out = {key: np.zeros((50, 8), np.float32) for key in ("in.weight", "out.weight")}
    client.pull(model, out, out=out)
    assert all((one == 2).all() for one in out.values())
    untied = {"in.weight": torch.ones(50, 8), "out.weight": torch.zeros(50, 8)}
    with pytest.raises(tensorhold.InvalidError, match="another name of"):
        push_state_dict(client, model, untied)
    assert (client.pull(model, ["in.weight"])["in.weight"] == 2).all()
    untied["out.weight"] = torch.ones(50, 8)
    push_state_dict(client, model, untied)
    assert (client.pull(model, ["out.weight"])["out.weight"] == 1).all()


def test_alias_of_nothing_is_refused(client, name):
    with pytest.raises(tensorhold.InvalidError, match="nothing of the model"):
        client.create_model(name, {"w": (2,)}, aliases={"v": "u"})


def test_views_that_are_not_contiguous_are_copied(client, name):
    w = torch.randn(40, 30)
    push_state_dict(client, name, {"w": w.t()})
    assert torch.equal(pull_state_dict(client, name)["w"], w.t())
    into = {"w": torch.zeros(40, 30).t()}
    pull_state_dict(client, name, into)
    assert torch.equal(into["w"], w.t())


def test_pictures_are_drawn(client, name):
    pytest.importorskip("matplotlib").use("Agg")
    model = create_from_module(client, name, nn.Linear(3, 4), optimizer="sgd")
    assert model.plot_storage().get_title().startswith(name)
    with client.join(name) as worker:
        worker.step({"weight": torch.ones(4, 3).numpy(), "bias": torch.ones(4).numpy()})
        assert worker.plot_progress().get_xlabel() == "step"
        assert "bytes pushed" in repr(worker)
