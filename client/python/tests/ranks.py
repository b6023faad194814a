"""Several processes of one job, as torchrun would start them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as mp


def _enter(rank: int, work: Callable[..., None], ranks: int, store: str, arguments: Any) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    try:
        work(rank, ranks, *arguments)
    finally:
        dist.destroy_process_group()


def run(work: Callable[..., None], ranks: int, store: Any, *arguments: Any) -> None:
    """Runs work(rank, ranks, *arguments) in each process; raises if one failed."""
    # PyTorch is imported once; the ranks are forked from there, and not from here, where gRPC runs.
    multiprocessing.set_forkserver_preload(["torch.distributed.checkpoint", "tensorhold.torch"])
    mp.start_processes(
        _enter, (work, ranks, str(store), arguments), nprocs=ranks, start_method="forkserver"
    )
