"""Rules of the servers beyond those of test_training.py, clipping by norm among them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_training import backward, data, difference, network, together

import tensorhold
from tensorhold import GradientCodec, Optimizer, Tensor
from tensorhold.torch import RemoteOptimizer, create_from_module


class Lamb(torch.optim.Optimizer):
    """You et al. 2020, algorithm 2, in f64."""

    def __init__(self, parameters, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.01):
        super().__init__(parameters, {})
        self._hyper = lr, beta1, beta2, eps, weight_decay

    @torch.no_grad()
    def step(self):
        lr, beta1, beta2, eps, decay = self._hyper
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            w, g = p.double(), p.grad.double()
            t = state["t"] = state.get("t", 0) + 1
            m = state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
            v = state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g * g
            u = m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + eps) + decay * w
            trust = float(w.norm() / u.norm()) if w.norm() > 0 and u.norm() > 0 else 1.0
            p.copy_(w - lr * trust * u)


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, parameters, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
        super().__init__(parameters, {})
        self._hyper = lr, beta1, beta2, weight_decay

    @torch.no_grad()
    def step(self):
        lr, beta1, beta2, decay = self._hyper
        for p in self.param_groups[0]["params"]:
            m = self.state[p].get("m", torch.zeros_like(p))
            direction = (beta1 * m + (1 - beta1) * p.grad).sign()
            p.copy_(p * (1 - lr * decay) - lr * direction)
            self.state[p]["m"] = beta2 * m + (1 - beta2) * p.grad


RULES = {
    "rmsprop": (torch.optim.RMSprop, {"lr": 1e-3, "momentum": 0.9}, 1e-6),
    "adadelta": (torch.optim.Adadelta, {"lr": 0.5}, 1e-6),
    "lion": (Lion, {"lr": 1e-3, "weight_decay": 0.01}, 1e-6),
    "lamb": (Lamb, {"lr": 3e-3}, 1e-5),
}


def trained(client, name, rule, hyper, kind, clip=None, steps=50, **options):
    """How far a worker's weights are from those of a local rule, and the worker's model."""
    ours, theirs = network(), network()
    spec = Optimizer(kind, hyper, clip_norm=clip)
    create_from_module(client, name, ours, optimizer=spec, workers=1, **options)
    local = rule(theirs.parameters(), **hyper)
    with client.join(name, 0, 1) as worker:
        remote = RemoteOptimizer(ours.named_parameters(), worker, bucket_bytes=4096)
        for step in range(steps):
            x, y = data(step)
            backward(ours, x, y)
            remote.step()
            backward(theirs, x, y)
            if clip:
                torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip)
            local.step()
        assert worker.last_step == steps
    return difference(ours, theirs)


@pytest.mark.parametrize("kind", RULES)
def test_a_bsp_worker_makes_the_steps_of_the_rule(client, name, kind):
    rule, hyper, tolerance = RULES[kind]
    assert trained(client, name, rule, hyper, kind, consistency="bsp") < tolerance


@pytest.mark.parametrize("consistency", ["bsp", "asp"])
@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_gradients_are_clipped_by_their_norm(client, name, kind, consistency):
    rule = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[kind]
    hyper = {"lr": 1e-3 if kind == "adam" else 0.5}
    far = trained(client, name, rule, hyper, kind, clip=0.05, consistency=consistency)
    assert far < 1e-6


def test_lamb_with_clipping(client, name):
    assert trained(client, name, Lamb, {"lr": 3e-3}, "lamb", clip=0.05, consistency="bsp") < 1e-5


def test_two_ranks_clip_the_mean_of_their_gradients(client, name):
    """A tensor on several shards, so that sums of all of them meet."""
    shape = (700, 1024)
    adam = Optimizer("adam", {"lr": 1e-2}, clip_norm=0.5)
    client.create_model(
        name,
        {"w": Tensor(shape, block_elements=1 << 15), "b": (7,)},
        optimizer=adam,
        consistency="bsp",
        workers=2,
    )
    random = np.random.default_rng(3)
    gradients = [
        [{"w": random.normal(size=shape).astype(np.float32), "b": np.ones(7, np.float32)}
         for _ in range(2)] for _ in range(4)
    ]  # fmt: skip
    results = [{}, {}]

    def work(rank: int) -> None:
        with client.join(name, rank, 2) as worker:
            assert len(worker.model.shards()) > 1
            for of_step in gradients:
                results[rank] = worker.step_and_pull(of_step[rank])

    together(work, 2)
    mirror = {"w": torch.zeros(shape), "b": torch.zeros(7)}
    for one in mirror.values():
        one.requires_grad_()
    local = torch.optim.Adam(mirror.values(), lr=1e-2)
    for first, second in gradients:
        for key, one in mirror.items():
            one.grad = torch.from_numpy((first[key] + second[key]) / 2)
        torch.nn.utils.clip_grad_norm_(mirror.values(), 0.5)
        local.step()
    for key, one in mirror.items():
        np.testing.assert_array_equal(results[0][key], results[1][key])
        np.testing.assert_allclose(results[0][key], one.detach().numpy(), atol=1e-6)


def test_what_is_clipped_is_what_is_sent(client, name):
    """An encoded gradient is decoded by the server before it is clipped; so is its norm taken."""
    sgd = Optimizer("sgd", {"lr": 1.0}, clip_norm=1.0)
    client.create_model(name, {"w": (4096,)}, optimizer=sgd, consistency="asp")
    gradient = np.random.default_rng(1).normal(size=4096).astype(np.float32)
    with client.join(name, gradients=GradientCodec("topk", fraction=0.01)) as worker:
        worker.step({"w": gradient})
    assert math.isclose(np.linalg.norm(client.pull(name)["w"]), 1.0, rel_tol=1e-5)


def test_a_gradient_pushed_without_a_worker_is_clipped(client, name):
    sgd = Optimizer("sgd", {"lr": 1.0}, clip_norm=2.0, clip_value=1.0)
    client.create_model(name, {"w": (16,)}, optimizer=sgd)
    client.push(name, {"w": np.full(16, 5, np.float32)}, "gradient")
    np.testing.assert_allclose(client.pull(name)["w"], -0.5, rtol=1e-6)


def test_a_clipped_step_is_made_once_when_it_is_retried(own_server, name):
    with tensorhold.connect(own_server.address, deadline=4) as client:
        net, mirror = network(), network()
        adam = Optimizer("adam", {"lr": 1e-3}, clip_norm=0.05)
        create_from_module(client, name, net, optimizer=adam, consistency="bsp", workers=1)
        local = torch.optim.Adam(mirror.parameters(), lr=1e-3)
        worker = client.join(name, 0, 1, lease=600)
        remote = RemoteOptimizer(net.named_parameters(), worker)
        for step in range(3):
            backward(net, *data(step))
            if step == 1:
                own_server.kill()
                with pytest.raises(tensorhold.DeadlineError):
                    remote.step()
                own_server.start()
            remote.step()
            backward(mirror, *data(step))
            torch.nn.utils.clip_grad_norm_(mirror.parameters(), 0.05)
            local.step()
        assert worker.last_step == 3
        assert difference(net, mirror) < 1e-6


def test_a_norm_that_is_infinite_fails_the_step(client, name):
    sgd = Optimizer("sgd", clip_norm=1.0)
    client.create_model(
        name, {"w": (8,)}, optimizer=sgd, consistency="bsp", workers=1, allow_nonfinite=True
    )
    with client.join(name, 0, 1) as worker, pytest.raises(tensorhold.InvalidError, match="norm"):
        worker.step({"w": np.full(8, np.inf, np.float32)})
    np.testing.assert_array_equal(client.pull(name)["w"], 0)
