"""Tables: rows of values under int64 keys, of which only those that are touched travel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tensorhold.codecs import Codec
from tensorhold.errors import error
from tensorhold.v1 import types_pb2

if TYPE_CHECKING:
    from tensorhold.model import Model, Optimizer


@dataclass(frozen=True)
class TableSpec:
    """A table to be created; docs/tables.md says more.

    Args:
        dim: values of a row, 1 to 16,384.
        initializer: what a row holds before it is pushed to: zeros, constant, uniform, normal,
            truncated_normal or xavier.
        hyper: of the initializer: low, high, mean, std, value, …
        seed: tables of the same seed have the same rows; 0: no two have.
        dtype: f32, f16 or bf16.
        codec: stored form of a row; empty: the dtype's own.
        optimizer: what differs from the model's.
    """

    dim: int
    initializer: str = "zeros"
    hyper: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    dtype: str = "f32"
    codec: str = ""
    optimizer: Optimizer | None = None

    def to_proto(self, name: str) -> types_pb2.ParameterSpec:
        from tensorhold.model import Tensor

        spec = Tensor((), self.dtype, self.codec, self.optimizer).to_proto(name)
        initializer = types_pb2.InitializerSpec(
            kind=self.initializer, hyper=dict(self.hyper), seed=self.seed
        )
        spec.table.CopyFrom(types_pb2.TableSpec(dim=self.dim, initializer=initializer))
        return spec


class Table:
    """A table of a model; its rows are pulled by `pull_rows` and pushed by `push_rows`."""

    def __init__(self, model: Model, spec: types_pb2.ParameterSpec) -> None:
        self.model = model
        self.name = spec.name
        self.id = spec.id
        self.dtype = types_pb2.DType.Name(spec.dtype)
        self.codec = Codec(spec.codec)
        self.dim = spec.table.dim
        self.initializer = spec.table.initializer.kind or "zeros"
        kind = spec.optimizer.kind or model.spec.optimizer.kind
        self.optimizer = "" if kind == "none" else kind

    @staticmethod
    def key(text: str) -> int:
        """The key of a text: the first 8 bytes of its SHA-256, big-endian, as in the Java SDK.

        Among a billion texts some two share a key with a probability of 3 %.
        """
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)

    @classmethod
    def keys(cls, texts: Iterable[str]) -> NDArray[np.int64]:
        """The keys of texts."""
        return np.array([cls.key(text) for text in texts], np.int64)

    def checked_keys(self, keys: object) -> NDArray[np.int64]:
        """Keys as int64, in the shape they came in."""
        array = np.asarray(keys)
        if array.dtype.kind not in "iu" and array.size:
            raise error(
                "KEYS_INVALID",
                f"keys of {self.name}: value={array.dtype} allowed=integers (of texts: Table.keys)",
            )
        if array.dtype == np.uint64 and array.size and int(array.max()) >= 1 << 63:
            raise error(
                "KEYS_INVALID",
                f"keys of {self.name}: value={int(array.max())} limit={(1 << 63) - 1}",
            )
        return np.ascontiguousarray(array, np.int64)

    def __repr__(self) -> str:
        return (
            f"<table {self.name}: rows of {self.dim} {self.dtype.lower()} as {self.codec.label}, "
            f"{self.initializer}{', ' + self.optimizer if self.optimizer else ''}>"
        )
