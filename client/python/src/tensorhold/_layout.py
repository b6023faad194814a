"""Where elements lie: blocks of a tensor, shards of blocks, runs of a slice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensorhold.errors import error

Bounds = tuple[tuple[int, int], ...]
"""For each dimension the first index and the one after the last."""


def shards_of(parameter_id: int, first: int, count: int, shards: int) -> NDArray[np.int64]:
    """The shard of each of `count` blocks."""
    return shards_of_keys(parameter_id, np.arange(first, first + count), shards)


def shards_of_keys(parameter_id: int, keys: NDArray[np.int64], shards: int) -> NDArray[np.int64]:
    """The shard of each block or row; the hash is part of the protocol (docs/formats.md)."""
    with np.errstate(over="ignore"):
        z = keys.astype(np.int64).view(np.uint64) + np.uint64(1)
        z += np.uint64((parameter_id * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        # The upper 64 bits of z · shards, in halves: shards is at most 256.
        low = (z & np.uint64(0xFFFFFFFF)) * np.uint64(shards)
        high = (z >> np.uint64(32)) * np.uint64(shards)
        return ((high + (low >> np.uint64(32))) >> np.uint64(32)).astype(np.int64)


def bounds_of(key: Any, shape: Sequence[int], name: str) -> Bounds:
    """NumPy's basic indexing by slices of step 1 and integers, as bounds of every dimension."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if keys.count(Ellipsis) > 1:
        raise error("REQUEST_INVALID", f"slice of {name}: at most one ellipsis")
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    if len(keys) > len(shape):
        raise error(
            "REQUEST_INVALID", f"slice of {name}: value={len(keys)} dimensions limit={len(shape)}"
        )
    bounds = []
    for dim, size in enumerate(shape):
        one = keys[dim] if dim < len(keys) else slice(None)
        if isinstance(one, slice):
            start, stop, step = one.indices(size)
            if step != 1:
                raise error("REQUEST_INVALID", f"slice of {name}: step: value={step} allowed=1")
            bounds.append((start, max(start, stop)))
        else:
            index = int(one)
            if not -size <= index < size:
                raise error(
                    "REQUEST_INVALID",
                    f"slice of {name}: index of dimension {dim}: value={index} "
                    f"allowed={-size}..{size - 1}",
                )
            index %= size
            bounds.append((index, index + 1))
    return tuple(bounds)


@dataclass(frozen=True)
class Run:
    """Consecutive elements of a slice in one block, and where they lie among the slice's own."""

    block: int
    first: int
    count: int
    at: int


def runs(shape: Sequence[int], bounds: Bounds, block_elements: int) -> Iterator[Run]:
    """The runs of a slice in row-major order, cut where a block ends."""
    sizes = [stop - start for start, stop in bounds]
    if math.prod(sizes) == 0:
        return
    inner = len(shape)
    length = 1
    while inner > 0:  # dimensions that are taken whole join the run, and one more
        inner -= 1
        length *= sizes[inner]
        if sizes[inner] != shape[inner]:
            break
    strides = [math.prod(shape[dim + 1 :]) for dim in range(len(shape))]
    base = sum(
        start * stride for (start, _), stride in zip(bounds[inner:], strides[inner:], strict=True)
    )
    taken = 0
    for index in np.ndindex(*sizes[:inner]):
        at = base + sum((bounds[dim][0] + i) * strides[dim] for dim, i in enumerate(index))
        left = length
        while left > 0:
            block, first = divmod(at, block_elements)
            here = min(left, block_elements - first)
            yield Run(block, first, here, taken)
            taken, at, left = taken + here, at + here, left - here
