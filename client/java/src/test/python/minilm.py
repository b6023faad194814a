"""Prints the SHA-256 of what gguf makes of all f32 tensors of an ONNX file, one after the other in the file's order.

    python minilm.py all-minilm-l6-v2.onnx

Written with gguf 0.19.0 and NumPy 2.4.6.
"""

import hashlib
import pathlib
import sys
from collections.abc import Iterator

import numpy as np
from gguf import GGMLQuantizationType, quants

GRAPH, INITIALIZER, DATA_TYPE, RAW_DATA, FLOAT = 7, 5, 2, 9, 1


def varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: number and value."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        match key & 7:
            case 0:
                value, at = varint(data, at)
                yield key >> 3, value
            case 2:
                size, at = varint(data, at)
                yield key >> 3, data[at : at + size]
                at += size
            case 5:
                at += 4
            case 1:
                at += 8


def main() -> None:
    digests = {kind: hashlib.sha256() for kind in (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0)}
    model = memoryview(pathlib.Path(sys.argv[1]).read_bytes())
    graph = next(v for k, v in fields(model) if k == GRAPH)
    values = 0
    for number, tensor in fields(graph):
        if number != INITIALIZER:
            continue
        parts = dict(fields(tensor))
        if parts[DATA_TYPE] == FLOAT:
            x = np.frombuffer(parts[RAW_DATA], "<f4")
            values += x.size
            for kind, digest in digests.items():
                digest.update(quants.quantize(x, kind).tobytes())
    print(values, "values")
    for kind, digest in digests.items():
        print(kind.name.lower(), digest.hexdigest())


if __name__ == "__main__":
    main()
