"""Writes golden.pt beside it: pip install torch==2.9 numpy.

golden.pt  by torch.save: every dtype, strides, shared storages, nesting; golden_torch.json says what is in it
"""

import json
import pathlib

import torch

HERE = pathlib.Path(__file__).parent

base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
tensors = {
    "w": base,
    "tied": base,
    "row": base[1],
    "rows": base[1:3],
    "flat": base.view(-1)[5:11],
    "transposed": base.T,
    "column": base[:, 2],
    "every.second": base[::2, 1::2],
    "permuted": torch.arange(60, dtype=torch.int16).reshape(3, 4, 5).permute(2, 0, 1),
    "f64": torch.tensor([1e300, -2.0], dtype=torch.float64),
    "f16": torch.arange(5, dtype=torch.float16),
    "bf16": torch.arange(3).to(torch.bfloat16),
    "i64": torch.tensor([-1, 2**62]),
    "i32": torch.tensor([-5, 7], dtype=torch.int32),
    "i8": torch.tensor([-128, 127], dtype=torch.int8),
    "u8": torch.tensor([0, 255], dtype=torch.uint8),
    "bool": torch.tensor([True, False, True]),
    "c64": torch.tensor([1 + 2j], dtype=torch.complex64),
    "u16": torch.tensor([0, 65535], dtype=torch.uint16),
    "u32": torch.tensor([0, 2**32 - 1], dtype=torch.uint32),
    "u64": torch.tensor([3, 4], dtype=torch.uint64),
    "e4m3": torch.arange(4).to(torch.float8_e4m3fn),
    "e5m2": torch.arange(4).to(torch.float8_e5m2),
    "parameter": torch.nn.Parameter(torch.tensor([2.5])),
    "scalar": torch.tensor(1.5),
    "empty": torch.zeros(0, 4),
}
module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
with torch.no_grad():
    for i, parameter in enumerate(module.parameters()):
        parameter.fill_(i)
nested = {"model": module.state_dict(), "list": [torch.ones(1), (torch.zeros(1), 3)], 7: torch.ones(2)}
torch.save(
    {**tensors, **nested, "epoch": 3, "name": "golden", "size": torch.Size([1, 2]), "none": None, "rate": 0.1},
    HERE / "golden.pt",
)

expected = dict(tensors)
for name, tensor in module.state_dict().items():
    expected["model." + name] = tensor
expected |= {"list.0": torch.ones(1), "list.1.0": torch.zeros(1), "7": torch.ones(2)}
golden = {}
for name, tensor in expected.items():
    plain = tensor.detach().contiguous()
    golden[name] = {
        "shape": list(tensor.shape),
        "bytes": bytes(plain.flatten().view(torch.uint8).numpy()).hex() if plain.numel() else "",
    }
(HERE / "golden_torch.json").write_text(json.dumps(golden, indent=0) + "\n")
