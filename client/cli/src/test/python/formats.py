"""Reads exported files with the formats' own packages: formats.py torch|gguf|safetensors ORIGINAL EXPORTED.

torch        torch.load(weights_only=True): every tensor of the original, equal, and tied where it was tied
gguf         GGUFReader: every field and every tensor's bytes
safetensors  safetensors.torch.load_file: every tensor that has bytes of its own
"""

import sys


def torch_files(original: str, exported: str) -> None:
    import torch

    def flat(value, path=""):
        if isinstance(value, torch.Tensor):
            yield path, value
        elif isinstance(value, dict):
            for key, one in value.items():
                yield from flat(one, f"{path}.{key}" if path else str(key))
        elif isinstance(value, (list, tuple)):
            for key, one in enumerate(value):
                yield from flat(one, f"{path}.{key}" if path else str(key))

    a = dict(flat(torch.load(original, weights_only=True)))
    b = torch.load(exported, weights_only=True)
    assert set(a) == set(b), set(a) ^ set(b)
    for name, tensor in a.items():
        assert b[name].dtype == tensor.dtype and b[name].shape == tensor.shape, name
        bits = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (tensor, b[name]))
        assert tensor.numel() == 0 or torch.equal(*bits), name

    def storage(tensors, name):
        return tensors[name].untyped_storage().data_ptr()

    contiguous = [n for n in a if a[n].is_contiguous() and a[n].numel()]
    for one in contiguous:
        for other in contiguous:
            assert (storage(a, one) == storage(a, other)) == (storage(b, one) == storage(b, other)), (one, other)
    print(len(a), "tensors are equal and share what they shared")


def gguf_files(original: str, exported: str) -> None:
    import gguf

    a, b = gguf.GGUFReader(original), gguf.GGUFReader(exported)
    assert list(a.fields) == list(b.fields)
    for name, field in a.fields.items():
        if not name.startswith("GGUF."):
            assert field.types == b.fields[name].types and field.contents() == b.fields[name].contents(), name
    assert len(a.tensors) == len(b.tensors)
    for one, other in zip(a.tensors, b.tensors):
        assert one.name == other.name and one.tensor_type == other.tensor_type, one.name
        assert list(one.shape) == list(other.shape) and one.data.tobytes() == other.data.tobytes(), one.name
    print(len(a.tensors), "tensors are equal")


def safetensors_files(original: str, exported: str) -> None:
    from safetensors.torch import load_file

    a, b = load_file(original), load_file(exported)
    for name, tensor in b.items():
        assert tensor.dtype == a[name].dtype and tensor.equal(a[name]), name
    print(len(b), "tensors are equal")


if __name__ == "__main__":
    {"torch": torch_files, "gguf": gguf_files, "safetensors": safetensors_files}[sys.argv[1]](*sys.argv[2:])
