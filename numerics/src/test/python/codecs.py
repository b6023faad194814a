"""The references that the codecs are held against, over inputs that Java makes bit for bit as well.

    python codecs.py digests > ../resources/io/tensorhold/numerics/codecs.txt
        a line for each codec and distribution of 10^7 values: its name, the input's SHA-256, the output's
    python codecs.py encode CODEC
        f32 from standard input, the reference's bytes to standard output
    python codecs.py every CODEC
        what the reference makes of all 2^16 bf16 values, without a scale

References: gguf (q8_0, q4_0), ml_dtypes (bf16, fp8_e4m3's elements), NumPy (f16). nf4 follows the thresholds that
bitsandbytes prints in its kernels, q8_linear and the scales of fp8_e4m3 their definition in docs/formats.md.
Written with gguf 0.19.0, ml_dtypes 0.6.0 and NumPy 2.4.6.
"""

import hashlib
import sys
from collections.abc import Callable

import ml_dtypes
import numpy as np
from gguf import GGMLQuantizationType, quants
from numpy.typing import NDArray

VALUES = 10_000_000  # rounded up to whole groups of 256
COUNT = -(-VALUES // 256) * 256
CHUNK = 256 * 4096

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def words(first: int, count: int, seed: int) -> NDArray[np.uint64]:
    """SplitMix64: its outputs number first, first + 1 and so on, counted from 0."""
    with np.errstate(over="ignore"):
        i = np.arange(first + 1, first + count + 1, dtype=np.uint64)
        z = np.uint64(seed) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(first: int, count: int) -> Floats:
    """In [-1, 1), multiples of 2^-23."""
    return ((words(first, count, 1) >> np.uint64(40)).astype(np.float32) - np.float32(2**23)) * np.float32(2**-23)


def normal(first: int, count: int) -> Floats:
    """Nearly normal, deviation 0.02 or so: the sum of a word's four quarters, exact in f32."""
    w = words(first, count, 2)
    quarters = sum(((w >> np.uint64(s)) & np.uint64(0xFFFF)).astype(np.int32) for s in (0, 16, 32, 48))
    return (quarters - np.int32(2 * 65535)).astype(np.float32) * np.float32(2**-21)


def halves(first: int, count: int) -> Floats:
    """Small multiples of 1/8: quotients at and beside halves."""
    return ((words(first, count, 3) >> np.uint64(54)).astype(np.float32) - np.float32(512)) * np.float32(0.125)


def anybits(first: int, count: int) -> Floats:
    """Any finite bits, of magnitudes below 2^17 so that no scale of f16 overflows; many zeros and subnormals."""
    w = words(first, count, 4)
    exponent = (w >> np.uint64(32)) % np.uint64(144)
    bits = (w & np.uint64(0x807FFFFF)) | (exponent << np.uint64(23))
    return bits.astype(np.uint32).view(np.float32)


def groupwise(first: int, count: int) -> Floats:
    """Normal values whose size changes by powers of two from one 32 to the next, from 2^-30 to 2^17."""
    i = np.arange(first, first + count, dtype=np.int64) // 32
    return normal(first, count) * np.exp2((i % 48 - 30).astype(np.float32)).astype(np.float32)


DISTRIBUTIONS: dict[str, Callable[[int, int], Floats]] = {
    "uniform": uniform,
    "normal": normal,
    "halves": halves,
    "anybits": anybits,
    "groupwise": groupwise,
}


def groups(x: Floats, size: int) -> Floats:
    padded = np.zeros(-(-x.size // size) * size, np.float32)
    padded[: x.size] = x
    return padded.reshape(-1, size)


def behind(scale: Floats, codes: Bytes) -> Bytes:
    return np.concatenate([np.ascontiguousarray(scale, "<f4").view(np.uint8).reshape(-1, 4), codes], axis=1)


def f16(x: Floats) -> Bytes:
    return x.astype("<f2").view(np.uint8)


def bf16(x: Floats) -> Bytes:
    return x.astype(ml_dtypes.bfloat16).view(np.uint8)


def e4m3(x: Floats) -> Bytes:
    return x.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)


def q8_0(x: Floats) -> Bytes:
    return quants.quantize(groups(x, 32).reshape(-1), GGMLQuantizationType.Q8_0)


def q4_0(x: Floats) -> Bytes:
    return quants.quantize(groups(x, 32).reshape(-1), GGMLQuantizationType.Q4_0)


def fp8_e4m3(x: Floats) -> Bytes:
    g = groups(x, 256)
    absmax = np.abs(g).max(axis=1).astype(np.float64)
    _, exponent = np.frexp(absmax / 448)  # absmax / 448 = m 2^e with m in [1/2, 1)
    exponent = np.where(absmax / 448 == np.exp2(exponent - 1.0), exponent - 1, exponent)
    scale = np.exp2(np.maximum(exponent, -126).astype(np.float64)).astype(np.float32)[:, None]
    return behind(scale, e4m3(np.clip(g / scale, -448, 448)).reshape(-1, 256))


def q8_linear(x: Floats) -> Bytes:
    g = groups(x, 256)
    absmax = np.abs(g).max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", over="ignore"):
        factor = np.float32(127) / absmax
    gone = np.isinf(factor)
    factor[gone] = 0
    absmax = np.where(gone, np.float32(0), absmax)
    return behind(absmax, np.rint(g * factor).astype(np.int8).view(np.uint8))


NF4_ABOVE = np.array(
    [-0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984,
     -0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513, 0.2035212516784668,
     0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011],
    np.float32,
)  # fmt: skip


def nf4(x: Floats) -> Bytes:
    g = groups(x, 64)
    absmax = np.abs(g).max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / absmax
    gone = np.isinf(inverse)
    inverse[gone] = 0
    absmax = np.where(gone, np.float32(0), absmax)
    codes = np.searchsorted(NF4_ABOVE, (g * inverse).reshape(-1), side="left").astype(np.uint8).reshape(-1, 64)
    return behind(absmax, codes[:, 0::2] << 4 | codes[:, 1::2])


CODECS: dict[str, Callable[[Floats], Bytes]] = {
    "f16": f16,
    "bf16": bf16,
    "q8_0": q8_0,
    "fp8_e4m3": fp8_e4m3,
    "q4_0": q4_0,
    "nf4": nf4,
    "q8_linear": q8_linear,
}


def digests() -> None:
    for name, values in DISTRIBUTIONS.items():
        inputs = hashlib.sha256()
        outputs = {codec: hashlib.sha256() for codec in CODECS}
        for first in range(0, COUNT, CHUNK):
            x = values(first, min(CHUNK, COUNT - first))
            inputs.update(np.ascontiguousarray(x, "<f4").tobytes())
            for codec, encode in CODECS.items():
                outputs[codec].update(encode(x).tobytes())
        print("input", name, inputs.hexdigest())
        for codec, digest in outputs.items():
            print(codec, name, digest.hexdigest())


def every(codec: str) -> Bytes:
    """All bf16 values, NaN too: it is 7FC0 and FFC0 in bf16, 7F and FF in e4m3; in f16 made 7E00 and FE00."""
    x = (np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)).view(np.float32)
    with np.errstate(all="ignore"):
        y = {"f16": f16, "bf16": bf16, "fp8_e4m3": e4m3}[codec](x)
    if codec == "f16":
        half = y.view("<u2")
        half[np.isnan(x)] = np.where(np.signbit(x[np.isnan(x)]), 0xFE00, 0x7E00)
    return y


def main() -> None:
    with np.errstate(all="ignore"):
        match sys.argv[1:]:
            case ["digests"]:
                digests()
                for codec in ("f16", "bf16", "fp8_e4m3"):
                    print("every", codec, hashlib.sha256(every(codec).tobytes()).hexdigest())
            case ["encode", codec]:
                x = np.frombuffer(sys.stdin.buffer.read(), "<f4")
                sys.stdout.buffer.write(CODECS[codec](x).tobytes())
            case ["every", codec]:
                sys.stdout.buffer.write(every(codec).tobytes())
            case _:
                sys.exit(__doc__)


if __name__ == "__main__":
    main()
