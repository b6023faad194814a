"""An optimizer of PyTorch whose step is made where the weights are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from tensorhold._step import StepCore
from tensorhold._values import Array
from tensorhold.errors import TensorholdError, error
from tensorhold.model import Parameter
from tensorhold.worker import Worker

BUCKET_BYTES = 4 << 20


class RemoteOptimizer(torch.optim.Optimizer):
    """Pushes gradients to the worker's model and takes over the values that the store made of them.

    The update rule, its hyper-parameters, schedule and clipping are the model's, on the servers;
    how workers meet (BSP, SSP, ASP) is the model's too. With `overlap`, gradients are sent while
    backward still computes others: in buckets, the last layers first, as DDP does. With several
    backward passes for a step (gradient accumulation), use `overlap=False`.

    A step that got no answer raises and leaves weights and gradients as they were; the next
    `step()` sends the same bytes again, which the store applies once, had it them or not.
    A gradient with a NaN is refused by `step()`; its bucket is not sent. If others of the step were
    sent before it, the next step raises StepError, and joining again mends it.

    Args:
        named_parameters: `module.named_parameters()`: those that require gradients are trained, and
            their names are the model's. All of them are on one step.
        worker: from `Client.join`; it encodes the gradients.
        overlap: send while backward runs.
        bucket_bytes: of gradients that are sent together.
        names: what a parameter is called in the model, where that differs.

    Example:
        worker = client.join("net", rank, ranks)
        optimizer = RemoteOptimizer(net.named_parameters(), worker)
        for inputs, labels in batches:
            optimizer.zero_grad()
            loss(net(inputs), labels).backward()
            optimizer.step()
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
        worker: Worker,
        *,
        overlap: bool = True,
        bucket_bytes: int = BUCKET_BYTES,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.worker = worker
        self._tensors: dict[str, torch.nn.Parameter] = {}
        for name, tensor in named_parameters:
            if tensor.requires_grad:
                stored = (names or {}).get(name, name)
                _check(worker.model[stored], tensor)
                self._tensors[stored] = tensor
        super().__init__(list(self._tensors.values()), {})
        self._overlap = overlap
        self._buckets = self._cut(bucket_bytes)
        self._plan = worker.plan(self._buckets)
        self._codec = worker.core.encoder.codec
        self._bucket_of = {one.name: i for i, bucket in enumerate(self._buckets) for one in bucket}
        self._updated: dict[str, Array] = {}
        self._step: StepCore | None = None
        self._refused: TensorholdError | None = None
        self._sent = 0
        self._waiting: list[int] = []
        self._hooks = [
            tensor.register_post_accumulate_grad_hook(self._ready(name))  # type: ignore[no-untyped-call]
            for name, tensor in self._tensors.items()
            if overlap
        ]

    def _cut(self, bucket_bytes: int) -> list[list[Parameter]]:
        """Buckets, from the last parameter to the first: about the order of backward."""
        buckets: list[list[Parameter]] = [[]]
        size = 0
        for name in reversed(self._tensors):
            parameter = self.worker.model[name]
            if buckets[-1] and size + 4 * parameter.elements > bucket_bytes:
                buckets.append([])
                size = 0
            buckets[-1].append(parameter)
            size += 4 * parameter.elements
        return buckets

    def _ready(self, name: str) -> Callable[[torch.Tensor], None]:
        bucket = self._bucket_of[name]

        def hook(_: torch.Tensor) -> None:
            if self.worker.unfinished is not None:
                return
            if self._step is None:
                self._begin()
            self._waiting[bucket] -= 1
            if self._waiting[bucket] < 0:
                raise error(
                    "REQUEST_INVALID",
                    f"{name} has a second gradient before step(): for several backward passes a "
                    f"step, use overlap=False",
                )
            # In the order of the buckets: all ranks send alike.
            try:
                while (
                    self._refused is None
                    and self._sent < len(self._buckets)
                    and self._waiting[self._sent] == 0
                ):
                    self._send(self._sent)
            except TensorholdError as refused:
                self._refused = refused  # for step(): backward goes on

        return hook

    def _begin(self) -> None:
        if self._codec is not self.worker.core.encoder.codec:
            self._codec = self.worker.core.encoder.codec
            self._plan = self.worker.plan(self._buckets)
        if not self._updated:
            self._updated = {
                name: torch.empty(tensor.shape, dtype=torch.float32).numpy()
                for name, tensor in self._tensors.items()
            }
        self._step = self.worker.begin(self._plan, self._updated)
        self._sent = 0
        self._waiting = [len(bucket) for bucket in self._buckets]

    def _send(self, bucket: int) -> None:
        assert self._step is not None
        gradients = {
            one.name: _gradient(one.name, self._tensors[one.name]) for one in self._buckets[bucket]
        }
        self.worker.send(self._step, bucket, gradients)
        self._sent += 1

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Makes the step of the gradients that are there; one that is missing counts as zeros.

        Raises:
            TensorholdError: weights and gradients are as they were. After a DeadlineError, calling
                `step` again goes on with the same step.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.worker.unfinished is not None:
            self.worker.retry()
        else:
            if self._step is None:
                self._begin()
            step, refused = self._step, self._refused
            assert step is not None
            self._refused = None
            try:
                if refused is not None:
                    raise refused
                while self._sent < len(self._buckets):
                    self._send(self._sent)
                self.worker.finish(step)
            except BaseException:
                if self.worker.unfinished is None:
                    self._step = None
                raise
        self._step = None
        self._take_over()
        return loss

    def _take_over(self) -> None:
        for name, tensor in self._tensors.items():
            tensor.copy_(torch.from_numpy(self._updated[name]))

    def close(self) -> None:
        """Takes its hooks off the parameters; the worker stays."""
        for hook in self._hooks:
            hook.remove()

    def __repr__(self) -> str:
        spec = self.worker.model.spec.optimizer
        hyper = ", ".join(f"{key}={value:g}" for key, value in sorted(spec.hyper.items()))
        return (
            f"RemoteOptimizer({spec.kind or 'none'}({hyper}), {self.worker.model.consistency}, "
            f"rank {self.worker.rank}, {len(self._tensors)} tensors, {len(self._buckets)} buckets)"
        )


def _check(parameter: Parameter, tensor: torch.Tensor) -> None:
    if tuple(tensor.shape) != parameter.shape:
        raise error(
            "SHAPE_INVALID",
            f"{parameter.name}: value={list(tensor.shape)} of the tensor, "
            f"{list(parameter.shape)} of the model",
        )
    if not parameter.computable or not parameter.optimizer:
        raise error(
            "OPTIMIZER_INVALID",
            f"{parameter.name} ({parameter.dtype}) has no optimizer in the model: it takes no "
            f"gradients",
        )


def _gradient(name: str, tensor: torch.nn.Parameter) -> Array:
    grad = tensor.grad
    if grad is None:
        grad = torch.zeros(tensor.shape, dtype=torch.float32)
    if grad.layout != torch.strided:
        raise error(
            "DTYPE_INVALID",
            f"the gradient of {name} is sparse: its parameter is dense; use sparse=False, or a "
            f"table",
        )
    return grad.detach().to(device="cpu", dtype=torch.float32).contiguous().numpy()
