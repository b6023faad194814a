"""Writes golden.gguf beside it: pip install gguf==0.19.0 numpy ml_dtypes.

golden.gguf  by the gguf package: entries of every type, tensors of f32, f16, bf16, i32, f64, q8_0, q4_0 and of types that are
             kept as they are. golden_gguf.json says what gguf reads in it
"""

import json
import pathlib

import gguf
import ml_dtypes
import numpy as np

HERE = pathlib.Path(__file__).parent
Type = gguf.GGMLQuantizationType

rng = np.random.default_rng(7)
writer = gguf.GGUFWriter(HERE / "golden.gguf", "llama")
writer.add_name("golden")
writer.add_custom_alignment(64)
writer.add_uint8("test.u8", 200)
writer.add_int16("test.i16", -3)
writer.add_float32("test.f32", 0.1)
writer.add_uint64("test.u64", 2**63)
writer.add_float64("test.f64", 0.25)
writer.add_bool("test.bool", True)
writer.add_array("test.numbers", [1, 2, 3])
writer.add_array("tokenizer.ggml.tokens", ["<s>", "\u00e9", "the", ""])
writer.add_array("test.flags", [True, False])


def quantized(kind, *shape):
    return gguf.quants.quantize(rng.normal(0, 0.02, shape).astype(np.float32), kind)


def blocks(kind, rows, columns):
    """Bytes for blocks of a type that the package does not encode."""
    group, size = gguf.GGML_QUANT_SIZES[kind]
    return rng.integers(0, 255, (rows, columns // group * size), dtype=np.uint8)


writer.add_tensor("norm.weight", np.arange(5, dtype=np.float32))
writer.add_tensor("half", np.arange(6, dtype=np.float16).reshape(2, 3))
brain = np.arange(4).astype(ml_dtypes.bfloat16).view(np.uint8)
writer.add_tensor("brain", brain, raw_dtype=Type.BF16)
writer.add_tensor("ids", np.array([[1, -2]], dtype=np.int32))
writer.add_tensor("double", np.array([1e300]))
writer.add_tensor("q8", quantized(Type.Q8_0, 3, 64), raw_dtype=Type.Q8_0)
writer.add_tensor("q4", quantized(Type.Q4_0, 2, 2, 32), raw_dtype=Type.Q4_0)
for kind in (Type.Q5_1, Type.Q4_K, Type.Q6_K, Type.IQ3_XXS, Type.MXFP4):
    writer.add_tensor("kept." + kind.name, blocks(kind, 2, 512), raw_dtype=kind)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

read = {}
for tensor in gguf.GGUFReader(HERE / "golden.gguf").tensors:
    entry = {
        "type": tensor.tensor_type.name,
        "shape": [int(n) for n in reversed(tensor.shape)],
        "bytes": tensor.data.tobytes().hex(),
    }
    if tensor.tensor_type in (Type.Q8_0, Type.Q4_0):
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        entry["values"] = values.astype("<f4").tobytes().hex()
    read[tensor.name] = entry
(HERE / "golden_gguf.json").write_text(json.dumps(read, indent=0) + "\n")
