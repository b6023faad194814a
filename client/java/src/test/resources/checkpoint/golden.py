"""Writes the golden files beside it: pip install safetensors==0.8.0 onnx==1.23.1 numpy ml_dtypes.

golden.safetensors  by the safetensors package: what our writer must match byte for byte
typed.onnx          by the onnx package: the same values in typed fields, raw_data and an external file
"""

import pathlib

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent

save_file(
    {
        "z.scalar": np.array(1.5, dtype=np.float32),
        "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b.half": np.arange(5, dtype=np.float16),
        "b.brain": np.arange(3).astype(ml_dtypes.bfloat16),
        "c.bytes": np.arange(7, dtype=np.uint8),
        "c.flags": np.array([True, False, True]),
        "d.ids": np.array([-1, 2**62], dtype=np.int64),
        "e.empty": np.zeros((0, 4), dtype=np.float64),
        "e.\u00e9\"quoted\"": np.array([7], dtype=np.int16),
        "f.fp8": np.arange(4).astype(ml_dtypes.float8_e4m3fn),
    },
    HERE / "golden.safetensors",
    metadata={"format": "np"},
)


def typed(name, data_type, values):
    return helper.make_tensor(name, data_type, [len(values)], values)


external = numpy_helper.from_array(np.arange(4, dtype=np.float32), "external")
external.ClearField("raw_data")
external.data_location = TensorProto.EXTERNAL
for key, value in (("location", "typed.bin"), ("offset", "8"), ("length", "16")):
    external.external_data.add(key=key, value=value)
(HERE / "typed.bin").write_bytes(b"padding." + np.arange(4, dtype=np.float32).tobytes())

initializers = [
    typed("f32", TensorProto.FLOAT, [1.5, -2.0, 3.25]),
    typed("f64", TensorProto.DOUBLE, [1e300, -2.0]),
    typed("i8", TensorProto.INT8, [-128, 0, 127]),
    typed("u8", TensorProto.UINT8, [0, 255]),
    typed("i16", TensorProto.INT16, [-32768, 32767]),
    typed("u16", TensorProto.UINT16, [0, 65535]),
    typed("i32", TensorProto.INT32, [-(2**31), -1, 2**31 - 1]),
    typed("u32", TensorProto.UINT32, [0, 2**32 - 1]),
    typed("i64", TensorProto.INT64, [-(2**63), -1, 2**63 - 1]),
    typed("u64", TensorProto.UINT64, [0, 2**64 - 1]),
    typed("bool", TensorProto.BOOL, [True, False]),
    typed("f16", TensorProto.FLOAT16, [1.0, -2.0]),
    typed("bf16", TensorProto.BFLOAT16, [1.0, -2.0]),
    typed("e4m3", TensorProto.FLOAT8E4M3FN, [1.0, -2.0]),
    typed("e5m2", TensorProto.FLOAT8E5M2, [1.0, -2.0]),
    typed("c64", TensorProto.COMPLEX64, [1 + 2j]),
    numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "raw"),
    numpy_helper.from_array(np.array(9, dtype=np.float32), "scalar"),
    numpy_helper.from_array(np.zeros((0, 3), dtype=np.float32), "empty"),
    external,
]
identity = helper.make_node("Identity", ["raw"], ["y"])
constant = helper.make_node("Constant", [], ["k"], value=typed("not.a.weight", TensorProto.FLOAT, [1.0]))
graph = helper.make_graph(
    [identity, constant],
    "golden",
    [],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
    initializers,
)
model = helper.make_model(graph, producer_name="golden.py")
model.metadata_props.add(key="author", value="nobody")
onnx.save(model, HERE / "typed.onnx")
