"""Arrays that are pulled into and pushed from: their dtypes, codecs and memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensorhold._blocks import BlockPart
from tensorhold._layout import Bounds, runs
from tensorhold._pull import Key, Target
from tensorhold.codecs import Codec, decode, encode
from tensorhold.errors import error
from tensorhold.model import Parameter

Array = NDArray[Any]
_DIRECT = {Codec.F32: "<f4", Codec.F16: "<f2", Codec.BF16: "<u2"}


def memory(array: Any) -> memoryview:
    """The bytes of a contiguous array, writable if it is."""
    return memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")


def new_array(parameter: Parameter, shape: Sequence[int]) -> Array:
    """What a parameter is pulled into by default: f32 if it can be computed with."""
    kind = np.dtype(np.float32) if parameter.computable else parameter.numpy_dtype
    return np.empty(tuple(shape), kind)


def _check_shape(what: str, array: Array, shape: Sequence[int]) -> None:
    if tuple(array.shape) != tuple(shape):
        raise error("SHAPE_INVALID", f"{what}: value={list(array.shape)} allowed={list(shape)}")


def check_out(parameter: Parameter, out: Array, shape: Sequence[int]) -> None:
    """Refuses an array that values can't be pulled into."""
    allowed = (
        [np.dtype("<f4"), np.dtype("<f2"), np.dtype("<u2")]
        if parameter.computable
        else [parameter.numpy_dtype]
    )
    if out.dtype not in allowed:
        raise error(
            "DTYPE_INVALID",
            f"out of {parameter.name}: value={out.dtype} allowed="
            f"{', '.join(map(str, allowed))} (uint16: the bits of bf16)",
        )
    _check_shape(f"out of {parameter.name}", out, shape)
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise error("SHAPE_INVALID", f"out of {parameter.name} must be contiguous and writable")


def wire_codec(parameter: Parameter, asked: Codec | None, sliced: bool = False) -> Codec:
    """What a parameter travels as: as stored, unless something else is asked for."""
    codec = parameter.codec if asked is None else asked
    if not codec.storable or (codec is Codec.RAW) == parameter.computable:
        raise error("CODEC_INVALID", f"{parameter.name} can't be pulled as {codec.label}")
    if sliced and codec.group != 1:
        return Codec.F32  # elements share bytes: the server decodes them
    return codec


def pull_targets(parameter: Parameter, codec: Codec, out: Array) -> dict[Key, Target]:
    """Where the blocks of a whole tensor go: straight into `out` where it holds the codec."""
    flat = out.reshape(-1)
    direct = codec is Codec.RAW or np.dtype(_DIRECT.get(codec, "V1")) == out.dtype
    targets = {}
    for block in range(parameter.blocks):
        start = block * parameter.block_elements
        part = flat[start : start + parameter.elements_in(block)]
        targets[parameter.id, block] = (
            Target(lambda part=part: memory(part))  # type: ignore[misc]
            if direct
            else _decoded(parameter, codec, part)
        )
    return targets


def whole_targets(
    model: Mapping[str, Parameter],
    names: Iterable[str],
    asked: Codec | None,
    out: Mapping[str, Array],
) -> tuple[
    dict[str, Array],
    dict[tuple[Codec, np.dtype[Any]], dict[Key, Target]],
    list[tuple[Array, Array]],
]:
    """Where whole tensors go.

    Returns:
        Their arrays by name; for each codec and dtype where the blocks go; and copies to be made
        when they are there, (to, from): what is pulled under two names travels once.
    """
    into: dict[str, Array] = {}
    targets: dict[tuple[Codec, np.dtype[Any]], dict[Key, Target]] = {}
    copies = []
    first: dict[tuple[int, np.dtype[Any]], Array] = {}
    for name in names:
        parameter = model[name]
        given = out.get(name)
        array = new_array(parameter, parameter.shape) if given is None else given
        check_out(parameter, array, parameter.shape)
        pulled = first.setdefault((parameter.id, array.dtype), array)
        into[name] = pulled if given is None else array
        if pulled is array:
            codec = wire_codec(parameter, asked if parameter.computable else None)
            blocks = targets.setdefault((codec, array.dtype), {})
            blocks.update(pull_targets(parameter, codec, array))
        elif given is not None:
            copies.append((array, pulled))
    return into, targets, copies


def _decoded(parameter: Parameter, codec: Codec, part: Array) -> Target:
    size = codec.bytes(len(part), parameter.width)

    def done(payload: memoryview) -> None:
        values = decode(codec, np.frombuffer(payload, np.uint8), len(part))
        if part.dtype == np.dtype("<u2"):
            part[...] = encode(Codec.BF16, np.ascontiguousarray(values)).view("<u2")
        else:
            part[...] = values

    return Target(lambda: memoryview(bytearray(size)), done)


def slice_targets(
    parameter: Parameter, bounds: Bounds, codec: Codec, out: Array
) -> dict[Key, Target]:
    """Where the blocks that a slice touches go: each is received whole, and its runs taken."""
    by_block: dict[int, list[tuple[int, int, int]]] = {}
    for run in runs(parameter.shape, bounds, parameter.block_elements):
        by_block.setdefault(run.block, []).append((run.first, run.count, run.at))
    flat = out.reshape(-1)
    targets = {}
    for block, taken in by_block.items():
        size = codec.bytes(parameter.elements_in(block), parameter.width)

        def done(payload: memoryview, block: int = block, taken: Any = taken) -> None:
            data = np.frombuffer(payload, np.uint8)
            if codec is Codec.RAW:
                values: Array = data.view(parameter.numpy_dtype)
            elif codec is Codec.BF16 and flat.dtype == np.dtype("<u2"):
                values = data.view("<u2")
            else:
                values = decode(codec, data, parameter.elements_in(block))
                if flat.dtype == np.dtype("<u2"):
                    values = encode(Codec.BF16, np.ascontiguousarray(values)).view("<u2")
            for first, count, at in taken:
                flat[at : at + count] = values[first : first + count]

        targets[parameter.id, block] = Target(
            lambda size=size: memoryview(bytearray(size)),  # type: ignore[misc]
            done,
        )
    return targets


def checked(parameter: Parameter, values: Any, shape: Sequence[int]) -> tuple[Array, Codec]:
    """Values to be pushed as a contiguous array, and what its elements are encoded in."""
    if not isinstance(values, np.ndarray):
        values = np.asarray(values, np.float32 if parameter.computable else parameter.numpy_dtype)
    native = {np.dtype("<f4"): Codec.F32, np.dtype("<f2"): Codec.F16}
    if parameter.computable and parameter.dtype == "BF16":
        native[np.dtype("<u2")] = Codec.BF16
    if not parameter.computable:
        native = {parameter.numpy_dtype: Codec.RAW}
    if values.dtype not in native:
        raise error(
            "DTYPE_INVALID",
            f"values of {parameter.name} ({parameter.dtype}): value={values.dtype} "
            f"allowed={', '.join(map(str, native))}; convert them with astype",
        )
    _check_shape(f"values of {parameter.name}", values, shape)
    return np.ascontiguousarray(values), native[values.dtype]


def whole_parts(
    parameter: Parameter, values: Array, source: Codec, codec: Codec | None, fraction: float = 1.0
) -> Iterable[BlockPart]:
    """A whole tensor, block by block; encoded if a codec is asked for."""
    flat = values.reshape(-1)
    if codec is not None and codec is not source:
        if source is Codec.RAW or codec is Codec.RAW:
            raise error("CODEC_INVALID", f"{parameter.name} can't be pushed as {codec.label}")
        if source is not Codec.F32:
            flat = decode(source, flat.view(np.uint8), len(flat))
    sent = source if codec is None else codec
    for block in range(parameter.blocks):
        start = block * parameter.block_elements
        part = flat[start : start + parameter.elements_in(block)]
        data = part.view(np.uint8) if sent is source else encode(sent, part, fraction)
        yield BlockPart(
            parameter.id,
            block,
            sent,
            [memory(data)],
            data.nbytes,
            data.nbytes if sent is Codec.RAW else 4 * len(part),
        )


def slice_parts(
    parameter: Parameter, bounds: Bounds, values: Array, source: Codec
) -> Iterable[BlockPart]:
    """The blocks that a slice touches, each with the runs that lie in it."""
    flat = values.reshape(-1).view(np.uint8)
    width = source.bytes(1, parameter.width)
    by_block: dict[int, tuple[list[int], list[memoryview], int]] = {}
    for run in runs(parameter.shape, bounds, parameter.block_elements):
        gaps, pieces, end = by_block.get(run.block, ([], [], 0))
        gaps += [run.first - end, run.count]
        pieces.append(memory(flat[run.at * width : (run.at + run.count) * width]))
        by_block[run.block] = (gaps, pieces, run.first + run.count)
    for block, (gaps, pieces, _) in by_block.items():
        size = sum(piece.nbytes for piece in pieces)
        elements = size // width
        yield BlockPart(
            parameter.id,
            block,
            source,
            pieces,
            size,
            size if source is Codec.RAW else 4 * elements,
            gaps,
        )
