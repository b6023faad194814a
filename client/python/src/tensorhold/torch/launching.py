"""The processes of a training job."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from tensorhold.errors import error


def launch(work: Callable[..., None], workers: int, *arguments: Any) -> None:
    """Runs `work(rank, workers, *arguments)` on so many processes of this machine.

    In a process that torchrun has started it is run here, with that process's rank, and workers are
    those that torchrun started, on all machines. Otherwise the processors are shared between the
    processes. Call it below `if __name__ == "__main__":`, since each process imports the script.

    Raises:
        torch.multiprocessing.ProcessRaisedException: what a process raised; the others are ended.
    """
    if workers < 1:
        raise error("REQUEST_INVALID", f"workers: value={workers} allowed=from 1")
    if "RANK" in os.environ:
        work(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), *arguments)
        return
    from torch.multiprocessing.spawn import spawn

    spawn(_process, (work, workers, arguments), nprocs=workers)  # type: ignore[no-untyped-call]


def _process(
    rank: int, work: Callable[..., None], workers: int, arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    work(rank, workers, *arguments)
