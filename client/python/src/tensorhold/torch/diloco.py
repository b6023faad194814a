"""Training with little on the wire: many steps of a local optimizer, then how far they came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from tensorhold.errors import error
from tensorhold.worker import Worker


class DiLoCo:
    """Sends a pseudo-gradient every H steps of a local optimizer (Douillard et al., 2023).

    The model is BSP, its optimizer the outer one: sgd with lr 0.7, momentum 0.9 and nesterov 1 in
    the paper. The pseudo-gradient is the values as last received minus those now; it is encoded as
    the worker's gradients are (q4_0 with error feedback serves well).

    Args:
        named_parameters: their names are the model's; they begin with its values, just pulled.
        optimizer: the inner one, of this worker alone.
        every: H, inner steps between two outer ones.

    Example:
        outer = DiLoCo(net.named_parameters(), torch.optim.AdamW(net.parameters()), worker, 50)
        for inputs, labels in batches:
            outer.zero_grad()
            loss(net(inputs), labels).backward()
            outer.step()
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
        optimizer: torch.optim.Optimizer,
        worker: Worker,
        every: int,
    ) -> None:
        if every < 1:
            raise error("REQUEST_INVALID", f"every: value={every} allowed=from 1")
        self._tensors = {name: one for name, one in named_parameters if one.requires_grad}
        self._received = {
            name: one.detach().to("cpu", torch.float32, copy=True).contiguous()
            for name, one in self._tensors.items()
        }
        self._optimizer = optimizer
        self._worker = worker
        self._every = every
        self._sent: dict[str, torch.Tensor] = {}
        self._updated: dict[str, torch.Tensor] = {}
        self.inner_steps = 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As the inner optimizer's."""
        self._optimizer.zero_grad(set_to_none)

    @property
    def outer_steps(self) -> int:
        """Outer steps of this rank, over all its lives."""
        return self._worker.last_step

    def step(self, closure: Any = None) -> Any:
        """An inner step, and after every H-th an outer one, which waits for all ranks.

        Raises:
            TensorholdError: why an outer step failed; the inner one is made. `sync` tries again.
        """
        loss = self._optimizer.step(closure)
        self.inner_steps += 1
        if self.inner_steps % self._every == 0:
            self.sync()
        return loss

    @torch.no_grad()
    def sync(self) -> None:
        """An outer step now; one that got no answer is sent again, as it was.

        What this worker did since it was sent is added to the values that come back.
        """
        if self._worker.unfinished is None:
            self._sent = {
                name: one.detach().to("cpu", torch.float32, copy=True)
                for name, one in self._tensors.items()
            }
            self._updated = {name: torch.empty_like(one) for name, one in self._received.items()}
            self._worker.step_and_pull(
                {name: (self._received[name] - sent).numpy() for name, sent in self._sent.items()},
                {name: one.numpy() for name, one in self._updated.items()},
            )
        else:
            self._worker.retry()
        for name, one in self._tensors.items():
            since = one.detach().to("cpu", torch.float32) - self._sent[name]
            one.copy_(self._updated[name] + since)
            self._received[name] = self._updated[name]
