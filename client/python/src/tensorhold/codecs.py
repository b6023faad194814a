"""Codecs in NumPy: how the elements of a block are encoded in bytes.

The layouts are drawn in docs/formats.md; the bits are those of the server. Everything here works on
one-dimensional arrays, from the start of a group.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


class Codec(enum.IntEnum):
    """How elements are encoded; the numbers are the protocol's."""

    F32 = 1
    F16 = 2
    BF16 = 3
    Q8_0 = 4
    FP8_E4M3 = 5
    Q4_0 = 6
    NF4 = 7
    Q8_LINEAR = 8
    TOPK = 9
    SIGN1 = 10
    RAW = 15

    @property
    def label(self) -> str:
        """The name that people write: f32, q8_0, …"""
        return self.name.lower()

    @property
    def group(self) -> int:
        """Elements that share a scale; 1 without one."""
        return _GROUPS[self][0]

    @property
    def storable(self) -> bool:
        """Whether blocks may be stored and pulled so: not topk and sign1."""
        return self not in (Codec.TOPK, Codec.SIGN1)

    def bytes(self, elements: int, width: int = 0) -> int:
        """Bytes of so many elements; `width` is that of an element of the dtype, for raw."""
        if self is Codec.RAW:
            return elements * width
        group, size = _GROUPS[self]
        return -(-elements // group) * size


_GROUPS: dict[Codec, tuple[int, int]] = {
    Codec.F32: (1, 4),
    Codec.F16: (1, 2),
    Codec.BF16: (1, 2),
    Codec.Q8_0: (32, 34),
    Codec.FP8_E4M3: (256, 260),
    Codec.Q4_0: (32, 18),
    Codec.NF4: (64, 36),
    Codec.Q8_LINEAR: (256, 260),
    Codec.TOPK: (1, 4),
    Codec.SIGN1: (256, 36),
    Codec.RAW: (1, 1),
}


def _e4m3_table() -> Floats:
    code = np.arange(256)
    sign = np.where(code & 0x80, -1.0, 1.0)
    exponent, mantissa = (code >> 3) & 15, code & 7
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    table = sign * np.where(exponent == 0, mantissa / 8 * 2.0**-6, normal)
    table[(code & 0x7F) == 0x7F] = np.nan
    return table.astype(np.float32)


_E4M3 = _e4m3_table()
# Dettmers et al., "QLoRA", 2023: the table of bitsandbytes.
_NF4: Floats = np.array(
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
     -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
     0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
     0.7229568362236023, 1.0], dtype=np.float32)  # fmt: skip
_INV127 = np.float32(1) / np.float32(127)


def _records(data: Bytes, codec: Codec, scale: Any, codes: int) -> Any:
    kind = np.dtype([("scale", scale), ("codes", np.uint8, (codes,))])
    assert kind.itemsize == _GROUPS[codec][1]
    return data.view(kind)


def decode(codec: Codec, data: Bytes, elements: int, out: Floats | None = None) -> Floats:
    """The values of `elements` encoded elements as f32, written to `out` if it is given.

    f32 is not copied without `out`: the result is a view of `data`.
    """
    with np.errstate(all="ignore"):
        values = _decode(codec, data, elements)
    if out is None:
        return values
    out[...] = values
    return out


def _decode(codec: Codec, data: Bytes, n: int) -> Floats:
    if codec is Codec.F32:
        return data.view("<f4")[:n]
    if codec is Codec.F16:
        return data.view("<f2")[:n].astype(np.float32)
    if codec is Codec.BF16:
        return (data.view("<u2")[:n].astype(np.uint32) << np.uint32(16)).view(np.float32)
    if codec is Codec.Q8_0:
        record = _records(data, codec, "<f2", 32)
        scaled = record["codes"].view(np.int8) * record["scale"].astype(np.float32)[:, None]
        return np.asarray(scaled, np.float32).reshape(-1)[:n]
    if codec is Codec.FP8_E4M3:
        record = _records(data, codec, "<f4", 256)
        return (_E4M3[record["codes"]] * record["scale"][:, None]).reshape(-1)[:n]
    if codec is Codec.Q4_0:
        record = _records(data, codec, "<f2", 16)
        codes = np.concatenate([record["codes"] & 15, record["codes"] >> 4], axis=1)
        scaled = (codes.astype(np.int8) - np.int8(8)) * record["scale"].astype(np.float32)[:, None]
        return np.asarray(scaled, np.float32).reshape(-1)[:n]
    if codec is Codec.NF4:
        record = _records(data, codec, "<f4", 32)
        codes = np.stack([record["codes"] >> 4, record["codes"] & 15], axis=-1)
        scaled = _NF4[codes].reshape(len(record), 64) * record["scale"][:, None]
        # A group of zeros decodes to +0, whatever the signs of the table.
        return np.asarray(scaled, np.float32).reshape(-1)[:n]
    if codec is Codec.Q8_LINEAR:
        record = _records(data, codec, "<f4", 256)
        codes = record["codes"].view(np.int8).astype(np.float32)
        return ((codes * _INV127) * record["scale"][:, None]).reshape(-1)[:n]
    if codec is Codec.SIGN1:
        record = _records(data, codec, "<f4", 32)
        negative = np.unpackbits(record["codes"], axis=1, bitorder="little").astype(bool)
        scale = record["scale"][:, None]
        return np.where(negative, -scale, scale).reshape(-1)[:n]
    if codec is Codec.TOPK:
        count = int(data[:4].view("<u4")[0])
        index = np.cumsum(data[4 : 4 + 2 * count].view("<u2").astype(np.int64) + 1) - 1
        values = np.zeros(n, np.float32)
        values[index] = _decode(Codec.BF16, data[4 + 2 * count : 4 + 4 * count], count)
        return values
    raise ValueError(f"{codec.label} holds no values that can be computed with")


def _groups(x: Floats, group: int) -> Floats:
    if len(x) % group:
        x = np.concatenate([x, np.zeros(-len(x) % group, np.float32)])
    return x.reshape(-1, group)


def _bf16(x: Floats) -> NDArray[np.uint16]:
    bits = np.ascontiguousarray(x).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    upper = ((bits + np.uint32(0x7FFF) + even) >> np.uint32(16)).astype(np.uint16)
    quiet = ((bits >> np.uint32(16)) & np.uint32(0x8000)).astype(np.uint16) | np.uint16(0x7FC0)
    return np.where(np.isnan(x), quiet, upper)


def encode(codec: Codec, values: Floats, fraction: float = 1.0) -> Bytes:
    """Encodes f32 values; `fraction` is what topk sends of them.

    f32 is not copied: the result is a view of `values`.
    """
    with np.errstate(all="ignore"):
        return _encode(codec, values, fraction)


def _encode(codec: Codec, x: Floats, fraction: float) -> Bytes:
    if codec is Codec.F32:
        return x.view(np.uint8)
    if codec is Codec.F16:
        return x.astype("<f2").view(np.uint8)
    if codec is Codec.BF16:
        return _bf16(x).view(np.uint8)
    if codec is Codec.TOPK:
        return _topk(x, fraction)
    groups = _groups(x, codec.group)
    absmax = np.abs(groups).max(axis=1)
    if codec is Codec.Q8_0:
        d = absmax / np.float32(127)
        scaled = groups * _inverse(d)[:, None]
        codes = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
        return _pack(codec, "<f2", d, codes.view(np.uint8))
    if codec is Codec.Q8_LINEAR:
        factor = np.float32(127) / absmax
        absmax = np.where(np.isinf(factor), np.float32(0), absmax)
        factor = np.where(np.isinf(factor), np.float32(0), factor)
        codes = np.rint(groups * factor[:, None]).astype(np.int8)
        return _pack(codec, "<f4", absmax, codes.view(np.uint8))
    if codec is Codec.Q4_0:
        first = np.take_along_axis(groups, np.abs(groups).argmax(axis=1)[:, None], axis=1)[:, 0]
        d = first / np.float32(-8)
        scaled = groups * _inverse(d)[:, None] + np.float32(8.5)
        codes = np.minimum(15, np.trunc(scaled).astype(np.int8)).astype(np.uint8)
        return _pack(codec, "<f2", d, codes[:, :16] | (codes[:, 16:] << 4))
    if codec is Codec.SIGN1:
        sums = np.abs(groups.astype(np.float64)).cumsum(axis=1)[:, -1]
        counts = np.full(len(groups), 256)
        if len(x) % 256:
            counts[-1] = len(x) % 256
        bits = np.packbits(np.signbit(groups), axis=1, bitorder="little")
        return _pack(codec, "<f4", (sums / counts).astype(np.float32), bits)
    raise ValueError(f"this client does not encode {codec.label}: the server does")


def _inverse(d: Floats) -> Floats:
    return np.where(d == 0, np.float32(0), np.float32(1) / d)


def _pack(codec: Codec, scale: str, scales: Any, codes: Bytes) -> Bytes:
    packed = np.empty(len(scales), [("scale", scale), ("codes", np.uint8, (codes.shape[1],))])
    packed["scale"] = scales
    packed["codes"] = codes
    return packed.view(np.uint8)


def _topk(x: Floats, fraction: float) -> Bytes:
    n = len(x)
    k = min(max(int(n * fraction + 0.5), min(1, n)), n)
    magnitude = x.view(np.int32) & np.int32(0x7FFFFFFF)
    kept = np.argsort(-magnitude.astype(np.int64), kind="stable")[:k]
    kept.sort()
    filled: list[int] = []
    gaps = np.diff(kept, prepend=-1) - 1
    for i in np.flatnonzero(gaps > 0xFFFF):
        last = int(kept[i - 1]) if i else -1
        while int(kept[i]) - last - 1 > 0xFFFF:
            last += 0x10000
            filled.append(last)
    index = np.sort(np.concatenate([kept, np.array(filled, np.int64)])).astype(np.int64)
    sent = x[index]
    sent[np.isin(index, filled)] = 0
    out = np.empty(4 + 4 * len(index), np.uint8)
    out[:4].view("<u4")[0] = len(index)
    out[4 : 4 + 2 * len(index)].view("<u2")[:] = np.diff(index, prepend=-1) - 1
    out[4 + 2 * len(index) :].view("<u2")[:] = _bf16(sent)
    return out
