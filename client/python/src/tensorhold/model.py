"""Models and their parameters as the catalog describes them: names, shapes and forms, no values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorhold._layout import shards_of
from tensorhold.codecs import Codec
from tensorhold.errors import error
from tensorhold.tables import Table
from tensorhold.v1 import types_pb2

_NUMPY: dict[str, str] = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "F16": "<f2", "I32": "<i4",
    "U32": "<u4", "F32": "<f4", "C64": "<c8", "F64": "<f8", "I64": "<i8", "U64": "<u8",
    "BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1", "F8_E8M0": "u1",
}  # fmt: skip
_OF_NUMPY = {
    np.dtype(text): name
    for name, text in _NUMPY.items()
    if name not in ("BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0")
}
COMPUTABLE = ("F32", "F16", "BF16")


def dtype_of(array: np.dtype[Any]) -> str:
    """The dtype that an array of NumPy has in a model."""
    known = _OF_NUMPY.get(array.newbyteorder("<"))
    if known is None:
        raise error(
            "DTYPE_INVALID",
            f"dtype: value={array} allowed={', '.join(str(known) for known in _OF_NUMPY)}",
        )
    return known


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of the server and all that belongs to its step, with PyTorch's defaults.

    `Optimizer("adamw", {"lr": 1e-4})`; kinds and hyper-parameters are listed in types.proto. A step
    clips by value, then by norm, then makes the optimizer's step at the schedule's rate.
    """

    kind: str
    hyper: Mapping[str, float] = field(default_factory=dict)
    schedule: str = ""
    schedule_hyper: Mapping[str, float] = field(default_factory=dict)
    clip_value: float | None = None
    clip_norm: float | None = None
    state_codec: str = ""
    stochastic_rounding: bool | None = None

    def to_proto(self) -> types_pb2.OptimizerSpec:
        spec = types_pb2.OptimizerSpec(
            kind=self.kind,
            hyper=dict(self.hyper),
            schedule=types_pb2.Schedule(kind=self.schedule, hyper=dict(self.schedule_hyper)),
        )
        if self.clip_value is not None:
            spec.clip_value = self.clip_value
        if self.clip_norm is not None:
            spec.clip_norm = self.clip_norm
        if self.state_codec:
            spec.state_codec = types_pb2.StateCodec.Value(f"STATE_{self.state_codec.upper()}")
        if self.stochastic_rounding is not None:
            spec.rounding = (
                types_pb2.ROUNDING_STOCHASTIC
                if self.stochastic_rounding
                else types_pb2.ROUNDING_NEAREST
            )
        return spec


@dataclass(frozen=True)
class Tensor:
    """A parameter to be created.

    Args:
        shape: its dimensions; () is a scalar.
        dtype: as the protocol names it: f32, bf16, i64, …
        codec: stored form; empty: the dtype's own.
        optimizer: what differs from the model's.
        block_elements: elements of a block, a multiple of 256; 0: 262,144.
    """

    shape: Sequence[int]
    dtype: str = "f32"
    codec: str = ""
    optimizer: Optimizer | None = None
    block_elements: int = 0

    def to_proto(self, name: str) -> types_pb2.ParameterSpec:
        dtype = self.dtype.upper()
        names = types_pb2.DType.keys()
        if dtype not in names:
            raise error(
                "DTYPE_INVALID",
                f'dtype of {name}: value="{self.dtype}" allowed={", ".join(names[1:]).lower()}',
            )
        spec = types_pb2.ParameterSpec(
            name=name,
            dtype=types_pb2.DType.Value(dtype),
            dims=list(self.shape),
            codec=codec_of(self.codec) if self.codec else 0,  # type: ignore[arg-type]
            block_elements=self.block_elements,
        )
        if self.optimizer is not None:
            spec.optimizer.CopyFrom(self.optimizer.to_proto())
        return spec


def codec_of(label: str | Codec) -> Codec:
    """The codec of a name."""
    if isinstance(label, Codec):
        return label
    try:
        return Codec[label.upper()]
    except KeyError:
        raise error(
            "CODEC_INVALID",
            f'codec: value="{label}" allowed={", ".join(c.label for c in Codec)}',
        ) from None


class Parameter:
    """A dense tensor of a model."""

    def __init__(self, model: Model, spec: types_pb2.ParameterSpec) -> None:
        self.model = model
        self.name = spec.name
        self.id = spec.id
        self.dtype = types_pb2.DType.Name(spec.dtype)
        self.shape = tuple(spec.dims)
        self.codec = Codec(spec.codec)
        self.block_elements = spec.block_elements
        self.elements = math.prod(self.shape)
        self.blocks = -(-self.elements // self.block_elements)
        self.optimizer = spec.optimizer.kind or model.spec.optimizer.kind
        if self.optimizer == "none":
            self.optimizer = ""
        own = spec.optimizer if spec.optimizer.HasField("clip_value") else model.spec.optimizer
        self.clip_value = own.clip_value

    @property
    def computable(self) -> bool:
        """Whether it can be computed with: f32, f16 and bf16."""
        return self.dtype in COMPUTABLE

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """What raw elements are in NumPy: bf16 as uint16, 8-bit floats as uint8."""
        text = _NUMPY.get(self.dtype)
        if text is None:
            raise error("DTYPE_INVALID", f"{self.name}: NumPy has nothing for {self.dtype}")
        return np.dtype(text)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements as stored, one replica, without optimizer state."""
        return self.codec.bytes(self.elements, self.width)

    @property
    def width(self) -> int:
        """Bytes of an element of its dtype."""
        return self.numpy_dtype.itemsize

    def elements_in(self, block: int) -> int:
        """Elements of one block: the last may have fewer."""
        return min(self.block_elements, self.elements - block * self.block_elements)

    def __repr__(self) -> str:
        return (
            f"<{self.name} {self.dtype.lower()}{list(self.shape)} as {self.codec.label}, "
            f"{human(self.nbytes)} in {self.blocks} block{'' if self.blocks == 1 else 's'}>"
        )


class Model(Mapping[str, Parameter]):
    """A model as it was when it was asked for: its dense parameters by name, and its tables.

    Aliases are other names of its parameters: `model["head"]` is the parameter that "head" is. They
    are not iterated over, nor are the files that came with it.
    """

    def __init__(self, message: types_pb2.Model, shard_count: int) -> None:
        self.message = message
        self.spec = message.spec
        self.shard_count = shard_count
        dense = [spec for spec in self.spec.parameters if not spec.HasField("table")]
        all_dense = {spec.name: Parameter(self, spec) for spec in dense}
        attached = {spec.name for spec in dense if spec.attachment}
        self.attachments = {name: all_dense[name] for name in attached}
        """Files that were loaded with it, such as tokenizer.json: u8 of one dimension."""
        self._parameters = {k: v for k, v in all_dense.items() if k not in attached}
        self._views = {
            alias.name: alias.of
            for alias in self.spec.aliases
            if tuple(alias.dims) != self._parameters[alias.of].shape
        }
        self.aliases = {
            alias.name: alias.of for alias in self.spec.aliases if alias.name not in self._views
        }
        """For every other name of a parameter the parameter's own."""
        self.tables = {
            spec.name: Table(self, spec) for spec in self.spec.parameters if spec.HasField("table")
        }
        """Its tables by name."""
        self._by_id = {one.id: one for one in all_dense.values()}

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def id(self) -> int:
        """Its number, unique in the cluster."""
        return self.message.id

    @property
    def catalog_index(self) -> int:
        """Index of the catalog's log at which it last changed."""
        return self.message.catalog_index

    @property
    def loading(self) -> bool:
        """Whether it is still being loaded, and so hidden from others."""
        return self.message.state == types_pb2.LOADING

    @property
    def metadata(self) -> dict[str, str]:
        """Free text that was created with it."""
        return dict(self.spec.metadata)

    @property
    def consistency(self) -> str:
        """asp, bsp or ssp."""
        name = types_pb2.Consistency.Name(self.spec.consistency or types_pb2.ASP)
        return name.lower()

    @property
    def checkpointed(self) -> bool:
        return self.spec.durability == types_pb2.CHECKPOINTED

    @property
    def clip_norm(self) -> float:
        """Largest norm of the gradient of a step; 0: no limit."""
        return self.spec.optimizer.clip_norm

    @property
    def nbytes(self) -> int:
        """Bytes of the stored form of all parameters, one replica, without optimizer state."""
        return sum(one.nbytes for one in self._parameters.values())

    def shards(self) -> list[int]:
        """The shards that hold a block or may hold a row of it."""
        found: set[int] = set(range(self.shard_count)) if self.tables else set()
        for one in self._by_id.values():
            if len(found) == self.shard_count:
                break
            found.update(map(int, set(shards_of(one.id, 0, one.blocks, self.shard_count))))
        return sorted(found)

    def table(self, name: str) -> Table:
        """A table of the model.

        Raises:
            UnknownError: PARAMETER_UNKNOWN.
        """
        found = self.tables.get(name)
        if found is None:
            known = ", ".join(list(self.tables)[:8]) or "none"
            raise error(
                "PARAMETER_UNKNOWN",
                f'model "{self.name}" has no table "{name}"; its tables are {known}',
            )
        return found

    def by_id(self, parameter_id: int) -> Parameter:
        return self._by_id[parameter_id]

    def __getitem__(self, name: str) -> Parameter:
        found = self._parameters.get(self.aliases.get(name, name))
        if found is None and name in self._views:
            raise error(
                "ALIAS_INVALID",
                f'"{name}" is a part of "{self._views[name]}", or all of it under another shape: '
                f'pull a slice of "{self._views[name]}"',
            )
        if found is None:
            last = name.rsplit(".", 1)[-1]
            near = [
                known
                for known in self._parameters
                if name in known or known in name or known.rsplit(".", 1)[-1] == last
            ][:5]
            raise error(
                "PARAMETER_UNKNOWN",
                f'model "{self.name}" has no parameter "{name}"'
                + (": that is a table, see Model.table" if name in self.tables else "")
                + (f"; near it are {', '.join(near)}" if near else ""),
            )
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._parameters or name in self.aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        lines = [
            f"Model {self.name}: {len(self)} parameters, "
            f"{sum(p.elements for p in self.values()):,} elements, {human(self.nbytes)} stored on "
            f"{len(self.shards())} of {self.shard_count} shards"
            + (f", {self.spec.optimizer.kind}" if self.spec.optimizer.kind else "")
            + f", {self.consistency}"
            + (" (loading)" if self.loading else "")
        ]
        rows = [
            (p.name, f"{p.dtype.lower()}{list(p.shape)}", p.codec.label, human(p.nbytes))
            for p in list(self.values())[:40]
        ]
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
        lines += [
            f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}"
            for a, b, c, d in rows
        ]
        if len(self) > len(rows):
            lines.append(f"  … {len(self) - len(rows)} more")
        lines += [f"  {name} is {of}" for name, of in list(self.aliases.items())[:20]]
        lines += [f"  {table!r}" for table in list(self.tables.values())[:20]]
        return "\n".join(lines)

    def plot_storage(self, ax: Any = None) -> Any:
        """Draws the bytes of its largest parameters, stored and as f32; gives Matplotlib's axes."""
        from tensorhold.plot import storage

        return storage(self, ax)


def human(size: int) -> str:
    """Bytes for people."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
