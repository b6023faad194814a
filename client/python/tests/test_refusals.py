"""Bad input: what is said, and that nothing has changed."""

from __future__ import annotations

import asyncio
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import tensorhold
from tensorhold import GradientCodec, Optimizer, Tensor
from tensorhold.torch import (
    RemoteOptimizer,
    create_from_module,
    pull_state_dict,
    push_state_dict,
)


@pytest.fixture
def model(client, name):
    return client.create_model(name, {"w": np.ones((4, 6), np.float32), "ids": np.arange(5)})


def unchanged(client, model) -> bool:
    pulled = client.pull(model)
    return bool((pulled["w"] == 1).all() and (pulled["ids"] == np.arange(5)).all())


@pytest.mark.parametrize(
    ("values", "reason", "text"),
    [
        ({"w": np.ones((4, 6))}, "DTYPE_INVALID", "value=float64 allowed=float32"),
        ({"w": np.ones((6, 4), np.float32)}, "SHAPE_INVALID", r"value=\[6, 4\] allowed=\[4, 6\]"),
        ({"ids": np.ones(5, np.float32)}, "DTYPE_INVALID", "allowed=int64"),
        ({"v": np.ones(5, np.float32)}, "PARAMETER_UNKNOWN", 'no parameter "v"'),
        ({"w": np.full((4, 6), np.nan, np.float32)}, "NONFINITE", "w"),
    ],
    ids=["wrong-dtype", "wrong-shape", "floats-to-ints", "no-such-name", "nan"],
)
def test_a_push_that_is_not_allowed_changes_nothing(client, model, values, reason, text):
    good = {"ids": np.zeros(5, np.int64)} if "ids" not in values and reason != "NONFINITE" else {}
    with pytest.raises(tensorhold.TensorholdError, match=text) as refused:
        client.push(model, {**good, **values})
    assert refused.value.reason == reason
    assert unchanged(client, model)


def test_non_contiguous_arrays_are_copied(client, model):
    w = np.arange(24, dtype=np.float32).reshape(6, 4).T
    client.push(model, {"w": w})
    np.testing.assert_array_equal(client.pull(model)["w"], w)


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (np.s_[::2], "step: value=2 allowed=1"),
        (np.s_[9], "value=9 allowed=-4..3"),
        (np.s_[0, 0, 0], "value=3 dimensions limit=2"),
        (np.s_[..., ...], "at most one ellipsis"),
    ],
)
def test_a_slice_that_is_not_allowed(client, model, index, text):
    with pytest.raises(tensorhold.InvalidError, match=text):
        client.pull_slice(model["w"], index)


@pytest.mark.parametrize(
    ("out", "text"),
    [
        (np.empty((4, 6)), "value=float64"),
        (np.empty((4, 7), np.float32), r"allowed=\[4, 6\]"),
        (np.empty((6, 4), np.float32).T, "contiguous"),
    ],
)
def test_arrays_that_cannot_be_pulled_into(client, model, out, text):
    with pytest.raises(tensorhold.InvalidError, match=text):
        client.pull(model, ["w"], out={"w": out})


def test_a_model_that_was_deleted_under_the_client(client, model):
    client.delete_model(model.name)
    for attempt in (client.pull, lambda m: client.push(m, {"w": np.ones((4, 6), np.float32)})):
        with pytest.raises(tensorhold.UnknownError, match=r"deleted|no model") as refused:
            attempt(model)
        assert refused.value.reason == "MODEL_UNKNOWN"


def test_a_model_that_was_replaced_under_a_worker(client, name):
    client.create_model(name, {"w": (10,)}, optimizer="sgd")
    worker = client.join(name)
    client.delete_model(name)
    client.create_model(name, {"w": (20,)}, optimizer="sgd")
    with pytest.raises(tensorhold.UnknownError) as refused:
        worker.step({"w": np.ones(10, np.float32)})
    assert refused.value.reason == "MODEL_UNKNOWN"
    assert worker.last_step == 0
    assert not client.pull(name)["w"].any()


def test_a_server_that_is_gone_is_named():
    with pytest.raises(tensorhold.UnavailableError, match=r"127\.0\.0\.1:9") as refused:
        tensorhold.connect("127.0.0.1:9", deadline=0.5)
    assert isinstance(refused.value, ConnectionError)
    copy = pickle.loads(pickle.dumps(refused.value))
    assert (type(copy), copy.reason, str(copy)) == (
        type(refused.value), "UNAVAILABLE", str(refused.value),
    )  # fmt: skip


@pytest.mark.parametrize("servers", ["nonsense", "host:port", "", "h:0"])
def test_addresses_are_checked(servers):
    with pytest.raises(tensorhold.InvalidError, match="HOST:PORT"):
        tensorhold.connect(servers, deadline=0.5)


def test_the_server_is_killed_and_comes_back(own_server, name):
    with tensorhold.connect(own_server.address, deadline=3) as client:
        model = client.create_model(name, {"w": np.zeros(300_000, np.float32)})
        session = client.session()
        own_server.kill()
        push = session.push(model, {"w": np.ones(300_000, np.float32)}, "add")
        with pytest.raises(tensorhold.DeadlineError, match="may have been applied"):
            push.result(60)
        with pytest.raises(tensorhold.UnavailableError, match=own_server.address):
            client.pull(model)
        own_server.start()
        assert not client.pull(model)["w"].any()
        client.push(model, {"w": np.ones(300_000, np.float32)}, "add")
        assert (client.pull(model)["w"] == 1).all()


def test_a_push_under_way_outlives_the_servers_death(own_server, name):
    with tensorhold.connect(own_server.address, deadline=60) as client:
        model = client.create_model(name, {"w": np.zeros(300_000, np.float32)})
        session = client.session()
        pushes = []
        for i in range(20):
            pushes.append(session.push(model, {"w": np.ones(300_000, np.float32)}, "add"))
            if i == 10:
                own_server.kill()
                own_server.start()
        for push in pushes:
            push.result(60)
        assert (client.pull(model)["w"] == 20).all()


def test_sessions_and_ranks_are_checked(client, name):
    client.create_model(name, {"w": (10,)}, optimizer="sgd", consistency="bsp", workers=2)
    with pytest.raises(tensorhold.InvalidError, match="rank: value=-1"):
        client.join(name, -1)
    with pytest.raises(tensorhold.InvalidError):
        client.join(name, 5)
    with client.join(name, 0, 2) as first:
        with pytest.raises(tensorhold.ExistsError) as taken:
            client.join(name, 0, 2, take_over=False)
        assert taken.value.reason == "RANK_TAKEN"
        second = client.join(name, 0, 2)
        with pytest.raises(tensorhold.SessionExpiredError):
            first.step({"w": np.ones(10, np.float32)})
        second.close()


def test_a_step_that_waits_names_the_missing_rank(server, name):
    with tensorhold.connect(server.address, deadline=2) as client:
        client.create_model(name, {"w": (10,)}, optimizer="sgd", consistency="bsp", workers=2)
        worker = client.join(name, 0, 2)
        with pytest.raises(tensorhold.DeadlineError, match="step 1 waits for rank 1"):
            worker.step({"w": np.ones(10, np.float32)})
        with pytest.raises(tensorhold.InvalidError, match="retry it first"):
            worker.step({"w": np.ones(10, np.float32)})
        assert not client.pull(name)["w"].any()


def test_specifications_are_checked(client, name):
    for parameters, options, text in (
        ({"w": Tensor((3,), dtype="f23")}, {}, 'value="f23"'),
        ({"w": Tensor((3,), codec="q9")}, {}, 'value="q9"'),
        ({"w": (3,)}, {"consistency": "bps"}, 'value="bps" allowed=asp, bsp, ssp'),
        ({"w": (3,)}, {"optimizer": "adamm"}, "adamm"),
        ({"w": (-3,)}, {}, "-3"),
        ({"w": np.array(["a"])}, {}, "dtype"),
    ):
        with pytest.raises(tensorhold.InvalidError, match=text):
            client.create_model(name, parameters, **options)
    with pytest.raises(tensorhold.InvalidError, match="fraction"):
        GradientCodec("topk", fraction=2)
    client.create_model(name, {"w": (3,)})
    with pytest.raises(tensorhold.ExistsError):
        client.create_model(name, {"w": (3,)})


def test_a_synchronous_call_in_the_loops_own_thread_is_refused(client):
    async def call() -> None:
        client.list_models()

    with pytest.raises(RuntimeError, match="wait for itself"):
        asyncio.run_coroutine_threadsafe(call(), client._loop.loop).result(10)


# PyTorch


def test_state_dicts_are_compared(client, name):
    net = nn.Linear(4, 3)
    push_state_dict(client, name, net.state_dict())
    with pytest.raises(tensorhold.UnknownError, match=r"not in the model: extra .*strict=False"):
        push_state_dict(client, name, {**net.state_dict(), "extra": torch.ones(2)})
    with pytest.raises(tensorhold.UnknownError, match="not in the state dict: bias"):
        pull_state_dict(client, name, {"weight": torch.empty(3, 4)})
    partly = pull_state_dict(client, name, {"weight": torch.empty(3, 4)}, strict=False)
    assert torch.equal(partly["weight"], net.weight)
    target = nn.Linear(5, 3)
    before = target.bias.clone()
    with pytest.raises(tensorhold.InvalidError, match=r"weight: value=\[3, 5\]"):
        pull_state_dict(client, name, target)
    assert torch.equal(before, target.bias)


def test_sparse_tensors_and_gradients_are_refused(client, name):
    with pytest.raises(tensorhold.InvalidError, match="sparse"):
        push_state_dict(client, name, {"w": torch.eye(3).to_sparse()})
    net = nn.Embedding(10, 4, sparse=True)
    create_from_module(client, name, net, optimizer="sgd")
    with client.join(name) as worker:
        remote = RemoteOptimizer(net.named_parameters(), worker, overlap=False)
        net(torch.tensor([1, 2])).sum().backward()
        with pytest.raises(tensorhold.InvalidError, match="gradient of weight is sparse"):
            remote.step()
        assert worker.last_step == 0
        net.weight.grad = net.weight.grad.to_dense()
        remote.step()  # the training goes on
        assert worker.last_step == 1


def test_parameters_that_do_not_match_the_model(client, name):
    net = nn.Linear(4, 3)
    create_from_module(client, name, net, optimizer="sgd")
    with client.join(name) as worker:
        with pytest.raises(tensorhold.UnknownError, match=r'no parameter "0\.weight"'):
            RemoteOptimizer(nn.Sequential(net).named_parameters(), worker)
        with pytest.raises(tensorhold.InvalidError, match=r"\[3, 5\] of the tensor"):
            RemoteOptimizer(nn.Linear(5, 3).named_parameters(), worker)
    client.create_model(name + "-none", {"weight": (3, 4), "bias": (3,)})
    with (
        client.join(name + "-none") as worker,
        pytest.raises(tensorhold.InvalidError, match="has no optimizer"),
    ):
        RemoteOptimizer(net.named_parameters(), worker)


def test_a_second_backward_pass_is_noticed(client, name):
    net = nn.Linear(4, 3)
    create_from_module(client, name, net, optimizer="sgd")
    with client.join(name) as worker:
        RemoteOptimizer(net.named_parameters(), worker)
        net(torch.ones(2, 4)).sum().backward()
        with pytest.raises(tensorhold.InvalidError, match="overlap=False"):
            net(torch.ones(2, 4)).sum().backward()


def test_a_nan_gradient_leaves_the_training_as_it_was(client, name):
    net = nn.Linear(4, 3)
    create_from_module(client, name, net, optimizer=Optimizer("adam"), consistency="bsp", workers=1)
    before = net.weight.detach().clone()
    worker = client.join(name, 0, 1)
    remote = RemoteOptimizer(net.named_parameters(), worker)
    (net(torch.ones(2, 4)).sum() * float("nan")).backward()
    with pytest.raises(tensorhold.InvalidError) as refused:
        remote.step()
    assert refused.value.reason == "NONFINITE"
    assert torch.equal(before, net.weight)
    assert torch.equal(before, pull_state_dict(client, name)["weight"])
    remote.zero_grad()
    net(torch.ones(2, 4)).sum().backward()
    remote.step()
    assert worker.last_step == 1


def test_an_unknown_model_is_named(client):
    with pytest.raises(tensorhold.UnknownError, match="nowhere"):
        client.pull("nowhere")
    with pytest.raises(LookupError):
        client.join("nowhere")
