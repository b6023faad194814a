"""Embeddings whose rows are in a table of the store: a step moves the rows of its batch, no more.

The table is the optimizer's too: a row that has a gradient makes a step of it on the servers.
"""

from __future__ import annotations

import concurrent.futures
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tensorhold.client import Client
from tensorhold.errors import error
from tensorhold.tables import Table


class _Rows(torch.nn.Module):
    """What both embeddings do: rows come for a batch's ids, and their gradients go."""

    def __init__(self, client: Client, table: Table, padding_idx: int | None = None) -> None:
        super().__init__()
        if not table.optimizer:
            raise error(
                "OPTIMIZER_INVALID",
                f"table {table.name} of {table.model.name} has no optimizer: its rows take no "
                f"gradients",
            )
        self.client, self.table = client, table
        self.padding_idx = padding_idx
        self._session = client.session(f"embedding {table.model.name}/{table.name}")
        self._pushes: list[concurrent.futures.Future[None]] = []
        self._fetched: dict[bytes, concurrent.futures.Future[Any]] = {}

    @property
    def embedding_dim(self) -> int:
        return self.table.dim

    def prefetch(self, ids: torch.Tensor) -> None:
        """Begins to pull the rows of a batch to come, as they are now; `forward` takes them.

        What this or another worker pushes meanwhile is not in them. One batch is kept at a time.
        """
        keys, _ = self._distinct(ids)
        self._fetched = {keys.tobytes(): self._begin(keys)}

    def flush(self) -> None:
        """Waits until the store has every gradient so far.

        Raises:
            TensorholdError: the first that was refused or got no answer; the others were made.
        """
        pushes, self._pushes = self._pushes, []
        concurrent.futures.wait(pushes)
        for push in pushes:
            push.result()

    def close(self) -> None:
        """Waits as `flush` does, and ends its session."""
        try:
            self.flush()
        finally:
            self._session.close()

    def _begin(self, keys: NDArray[np.int64]) -> concurrent.futures.Future[Any]:
        return self.client._loop.start(self.client.core.pull_rows(self.table, keys))

    def _distinct(self, ids: torch.Tensor) -> tuple[NDArray[np.int64], torch.Tensor]:
        if ids.dtype not in (torch.int64, torch.int32):
            raise error("DTYPE_INVALID", f"ids: value={ids.dtype} allowed=int64, int32")
        distinct, places = torch.unique(ids.detach().cpu().long(), return_inverse=True)
        return distinct.numpy(), places

    def _rows(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int | None]:
        """The distinct rows, where each id's stands among them, and where the padding's does."""
        keys, places = self._distinct(ids)
        fetched = self._fetched.pop(keys.tobytes(), None)
        if fetched is None:
            self.flush()  # what this worker has pushed is in what it pulls
            fetched = self._begin(keys)
        values = torch.from_numpy(fetched.result()).to(ids.device)
        padding = None
        if self.padding_idx is not None and len(found := np.flatnonzero(keys == self.padding_idx)):
            padding = int(found[0])
            values[padding] = 0
        if self.training and torch.is_grad_enabled():
            values.requires_grad_()
            values.register_post_accumulate_grad_hook(self._pusher(keys, padding))  # type: ignore[no-untyped-call]
        return values, places.to(ids.device), padding

    def _pusher(self, keys: NDArray[np.int64], padding: int | None) -> Any:
        def push(values: torch.Tensor) -> None:
            assert values.grad is not None
            gradient = values.grad.detach().to("cpu", torch.float32).contiguous().numpy()
            values.grad = None
            kept = keys
            if padding is not None:
                kept, gradient = np.delete(keys, padding), np.delete(gradient, padding, axis=0)
            if len(kept):
                self._pushes = [one for one in self._pushes if not one.done() or one.exception()]
                self._pushes.append(self._session.push_rows(self.table, kept, gradient, "gradient"))

        return push

    def extra_repr(self) -> str:
        return f"{self.table!r} of {self.table.model.name}"


class RemoteEmbedding(_Rows):
    """`torch.nn.Embedding` over a table: any int64 is an id, and new ones need no growing.

    `forward` pulls the distinct rows of a batch. When backward has come to them, their gradients
    leave, and every one of these rows makes a step of the table's optimizer; a second backward is a
    second step. There is no parameter: a local optimizer has nothing to do here. Repeated ids'
    gradients are added up before they are sent.

    Args:
        client: that pulls and pushes.
        table: with an optimizer, from `model.table(name)`.
        padding_idx: an id whose row is zeros, and takes no gradient.

    Example:
        words = RemoteEmbedding(client, client.model("words").table("rows"))
        for ids, labels in batches:
            loss(net(words(ids)), labels).backward()
        words.flush()
    """

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows of int64 ids of any shape: f32 of that shape and the table's dim."""
        values, places, padding = self._rows(ids)
        return torch.nn.functional.embedding(places, values, padding_idx=padding)


class RemoteEmbeddingBag(_Rows):
    """`torch.nn.EmbeddingBag` over a table; all else is as with RemoteEmbedding.

    Args:
        mode: sum, mean or max.
    """

    def __init__(
        self, client: Client, table: Table, mode: str = "mean", padding_idx: int | None = None
    ) -> None:
        super().__init__(client, table, padding_idx)
        if mode not in ("sum", "mean", "max"):
            raise error("REQUEST_INVALID", f'mode: value="{mode}" allowed=sum, mean, max')
        self.mode = mode

    def forward(
        self,
        ids: torch.Tensor,
        offsets: torch.Tensor | None = None,
        per_sample_weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One row for each bag: of ids of two dimensions, or of one that offsets cut into bags."""
        values, places, padding = self._rows(ids)
        return torch.nn.functional.embedding_bag(
            places,
            values,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            padding_idx=padding,
        )
