"""Two processes under the store beside two under DistributedDataParallel, gloo."""

from __future__ import annotations

import pytest
import torch
from ranks import run
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import tensorhold
from tensorhold import Optimizer
from tensorhold.torch import RemoteOptimizer, create_from_module


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(40, 64), nn.Tanh(), nn.LayerNorm(64), nn.Linear(64, 10))


def compare(rank: int, ranks: int, address: str, name: str) -> None:
    torch.set_num_threads(1)
    ours, theirs = network(), DistributedDataParallel(network())
    local = torch.optim.AdamW(theirs.parameters(), lr=1e-3)
    with tensorhold.connect(address) as client, client.join(name, rank, ranks) as worker:
        remote = RemoteOptimizer(ours.named_parameters(), worker)
        for step in range(200):
            made = torch.Generator().manual_seed(ranks * step + rank)
            x = torch.randn(32, 40, generator=made)
            y = x[:, :10].argmax(dim=1)
            for net, rule in ((ours, remote), (theirs, local)):
                rule.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                rule.step()
        pairs = zip(ours.parameters(), theirs.module.parameters(), strict=True)
        worst = max(float((a - b).detach().abs().max()) for a, b in pairs)
        assert worst < 1e-5, worst


@pytest.mark.filterwarnings("ignore")
def test_two_workers_equal_ddp(server, client, name, tmp_path):
    create_from_module(
        client, name, network(), optimizer=Optimizer("adamw", {"lr": 1e-3}),
        consistency="bsp", workers=2,
    )  # fmt: skip
    run(compare, 2, tmp_path / "store", server.address, name)
