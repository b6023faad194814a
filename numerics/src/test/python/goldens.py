"""Writes the golden files that the tests hold Tensorhold's arithmetic against.

Run where PyTorch, NumPy and gguf are installed (written with torch 2.13.0, numpy 2.4.6, gguf 0.19.0):
    python goldens.py ../resources/io/tensorhold/numerics
"""

import pathlib
import sys

import numpy as np
import torch
from gguf import GGMLQuantizationType, quants

def bits(values: np.ndarray) -> str:
    """The f32 values as hexadecimal bit patterns, one word each."""
    return " ".join(f"{v:08x}" for v in np.ascontiguousarray(values, "<f4").view("<u4"))


def groups() -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    out = [rng.normal(0, s, 32) for s in (1e-3, 0.02, 1, 50, 1e4) for _ in range(4)]
    for s in (1.0, 0.25, 2.0**-12, 3.0, 1e-4):  # quotients at and beside halves
        k = rng.integers(-126, 126, 32) + 0.5
        k[0] = 127
        out.append(k * s)
        out.append(np.nextafter((k * s).astype(np.float32), np.float32(0)))
        out.append(np.nextafter((k * s).astype(np.float32), np.float32(np.inf)))
    out += [np.zeros(32), -np.zeros(32)]
    for top in (65504.0 * 127, 8.4e6, 1e30, 3.4028235e38):
        out.append(rng.uniform(-top, top, 32))
    for top in (1e-3, 1e-5, 5e-6, 1e-7, 1e-30, 1e-37, 2e-38, 1e-39, 1e-44):
        out.append(rng.uniform(-top, top, 32))
    for odd in (np.inf, -np.inf, np.nan):
        x = rng.normal(0, 1, 32)
        x[5] = odd
        out.append(x)
    return [g.astype(np.float32) for g in out]


def q8_0() -> str:
    lines = []
    with np.errstate(all="ignore"):
        for group in groups():
            coded = quants.quantize(group, GGMLQuantizationType.Q8_0)
            values = quants.dequantize(coded, GGMLQuantizationType.Q8_0)
            lines += ["x " + bits(group), "q " + coded.tobytes().hex(), "y " + bits(values)]
    return "\n".join(lines) + "\n"


def bf16() -> str:
    rng = np.random.default_rng(13)
    words = rng.integers(0, 2**32, 300, dtype=np.uint64).astype(np.uint32)
    finite = words[(words & 0x7F800000) != 0x7F800000]
    ties = (finite[:60] & 0xFFFF0000) | 0x8000
    special = [0, 0x80000000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 1, 0x7FFF, 0x8000, 0x8001]
    x = np.concatenate([finite, ties, np.array(special)]).astype("<u4").view("<f4")
    y = torch.tensor(x).to(torch.bfloat16).view(torch.int16).numpy().view("<u2")
    return "x " + bits(x) + "\ny " + " ".join(f"{v:04x}" for v in y) + "\n"


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    (folder / "q8_0.txt").write_text(q8_0())
    (folder / "bf16.txt").write_text(bf16())


if __name__ == "__main__":
    main()
