"""Workers: whose steps the servers make, beside torch.optim and DDP."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

import tensorhold
from tensorhold import GradientCodec, Optimizer
from tensorhold.torch import DiLoCo, RemoteOptimizer, create_from_module, pull_state_dict

RULES = {
    "sgd": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}),
    "adam": (torch.optim.Adam, {"lr": 1e-3}),
    "adamw": (torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.01}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.01}),
}


def network(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(40, 64), nn.Tanh(), nn.LayerNorm(64), nn.Linear(64, 10))


def data(seed: int, n: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 40, generator=made)
    return x, (x[:, :10] + 0.1 * torch.randn(n, 10, generator=made)).argmax(dim=1)


def backward(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    net.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    return float(loss.detach())


def difference(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("kind", RULES)
def test_one_bsp_worker_makes_the_steps_of_torch_optim(client, name, kind):
    rule, hyper = RULES[kind]
    ours, theirs = network(), network()
    create_from_module(
        client, name, ours, optimizer=Optimizer(kind, hyper), consistency="bsp", workers=1
    )
    local = rule(theirs.parameters(), **hyper)
    with client.join(name, 0, 1) as worker:
        remote = RemoteOptimizer(ours.named_parameters(), worker, bucket_bytes=4096)
        assert "rank 0" in repr(remote)
        for step in range(200):
            x, y = data(step)
            backward(ours, x, y)
            remote.step()
            backward(theirs, x, y)
            local.step()
        assert worker.last_step == 200
    assert difference(ours, theirs) < 1e-6
    stored = network(2)
    pull_state_dict(client, name, stored)
    assert difference(ours, stored) == 0


def test_two_workers_make_the_steps_of_their_mean(client, name):
    """As DDP does: the mean of the gradients of all ranks; test_ddp.py holds it against DDP."""
    theirs = network()
    create_from_module(
        client, name, network(), optimizer=Optimizer("adam", {"lr": 1e-3}),
        consistency="bsp", workers=2,
    )  # fmt: skip
    local = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    nets = [network(), network()]

    def work(rank: int) -> None:
        with client.join(name, rank, 2) as worker:
            remote = RemoteOptimizer(nets[rank].named_parameters(), worker)
            for step in range(50):
                backward(nets[rank], *data(2 * step + rank))
                remote.step()

    together(work, 2)
    for step in range(50):
        backward(theirs, *data(2 * step))
        first = [p.grad.clone() for p in theirs.parameters()]
        backward(theirs, *data(2 * step + 1))
        for p, g in zip(theirs.parameters(), first, strict=True):
            p.grad = (p.grad + g) / 2
        local.step()
    assert difference(nets[0], nets[1]) == 0
    assert difference(nets[0], theirs) < 1e-5


@pytest.mark.parametrize(
    "codec",
    [
        GradientCodec("bf16"),
        GradientCodec("q8_linear"),
        GradientCodec("q8_0"),
        GradientCodec("q4_0", error_feedback=True),
        GradientCodec("sign1", error_feedback=True),
        GradientCodec("topk", fraction=0.05),
    ],
    ids=lambda codec: codec.codec,
)
def test_encoded_gradients_train(client, name, codec):
    net = network()
    create_from_module(
        client, name, net, optimizer=Optimizer("sgd", {"lr": 0.1}), consistency="bsp", workers=1
    )
    x, y = data(0, 256)
    before = backward(net, x, y)
    with client.join(name, 0, 1, gradients=codec) as worker:
        remote = RemoteOptimizer(net.named_parameters(), worker)
        for _ in range(40):
            backward(net, x, y)
            remote.step()
        pusher = worker.core.session.pusher
        assert pusher.pushed_bytes < 0.6 * pusher.pushed_as_f32
    assert backward(net, x, y) < 0.75 * before


@pytest.mark.parametrize("consistency", ["asp", "ssp"])
def test_asynchronous_workers_train(client, name, consistency):
    create_from_module(
        client, name, network(), optimizer=Optimizer("sgd", {"lr": 0.05}), consistency=consistency,
        workers=2, staleness=2 if consistency == "ssp" else 0,
    )  # fmt: skip

    def work(rank: int) -> None:
        net = network()
        with client.join(name, rank, 2) as worker:
            remote = RemoteOptimizer(net.named_parameters(), worker)
            for step in range(40):
                backward(net, *data(2 * step + rank))
                remote.step()

    together(work, 2)
    trained = network()
    before = backward(trained, *data(1000, 512))
    pull_state_dict(client, name, trained)
    assert backward(trained, *data(1000, 512)) < 0.9 * before


def test_diloco_trains_two_workers_with_few_sends(client, name):
    outer = Optimizer("sgd", {"lr": 0.7, "momentum": 0.9, "nesterov": 1})
    create_from_module(client, name, network(), optimizer=outer, consistency="bsp", workers=2)
    nets = [network(), network()]

    def work(rank: int) -> None:
        with client.join(name, rank, 2) as worker:
            inner = torch.optim.SGD(nets[rank].parameters(), lr=0.05)
            diloco = DiLoCo(nets[rank].named_parameters(), inner, worker, every=10)
            for step in range(60):
                backward(nets[rank], *data(2 * step + rank))
                diloco.step()
            assert diloco.outer_steps == 6

    before = backward(nets[0], *data(1000, 512))
    together(work, 2)
    assert difference(nets[0], nets[1]) == 0
    assert backward(nets[0], *data(1000, 512)) < 0.9 * before


def test_a_worker_that_joins_again_goes_on_after_its_last_step(client, name):
    client.create_model(name, {"w": (1000,)}, optimizer="sgd", consistency="bsp", workers=1)
    one = client.join(name, 0, 1)
    one.step({"w": np.ones(1000, np.float32)})
    one.step({"w": np.ones(1000, np.float32)})
    one.abandon()
    with client.join(name, 0, 1) as again:
        assert again.last_step == 2
        again.step({"w": np.ones(1000, np.float32)})
    np.testing.assert_allclose(client.pull(name)["w"], -3e-3, rtol=1e-6)


def test_a_step_without_an_answer_is_made_once_when_it_is_retried(own_server, name):
    with tensorhold.connect(own_server.address, deadline=4) as client:
        net = network()
        create_from_module(
            client, name, net, optimizer=Optimizer("adam"), consistency="bsp", workers=1
        )
        mirror = network()
        local = torch.optim.Adam(mirror.parameters(), lr=1e-3)
        worker = client.join(name, 0, 1, lease=600)
        remote = RemoteOptimizer(net.named_parameters(), worker)
        for step in range(3):
            backward(net, *data(step))
            if step == 1:
                own_server.kill()
                weights = [p.detach().clone() for p in net.parameters()]
                with pytest.raises(tensorhold.DeadlineError, match="may have been applied"):
                    remote.step()
                same = zip(weights, net.parameters(), strict=True)
                assert all(torch.equal(a, b) for a, b in same)
                own_server.start()
            remote.step()
            backward(mirror, *data(step))
            local.step()
        assert worker.last_step == 3
        assert difference(net, mirror) < 1e-6


def together(work, ranks: int) -> None:
    failures: list[BaseException] = []

    def guarded(rank: int) -> None:
        try:
            work(rank)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
