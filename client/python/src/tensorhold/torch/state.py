"""State dicts: a module's tensors by name, to a model of the store and back.

Tensors on another device, or that are not contiguous, are copied to contiguous memory of the host
first; others are sent from and received into their own memory. Tied tensors are stored once, under
the first of their names; the others are its aliases, and a pull gives all of them one tensor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tensorhold.client import Client
from tensorhold.errors import error
from tensorhold.model import Model, Optimizer, Parameter, Tensor

Array = NDArray[Any]
TIED = "tied"

DTYPES: dict[torch.dtype, str] = {
    torch.bool: "bool", torch.uint8: "u8", torch.int8: "i8", torch.int16: "i16",
    torch.float16: "f16", torch.bfloat16: "bf16", torch.int32: "i32", torch.float32: "f32",
    torch.complex64: "c64", torch.float64: "f64", torch.int64: "i64", torch.uint16: "u16",
    torch.uint32: "u32", torch.uint64: "u64", torch.float8_e4m3fn: "f8_e4m3",
    torch.float8_e5m2: "f8_e5m2",
}  # fmt: skip
_TORCH = {label: dtype for dtype, label in DTYPES.items()}
_AS_BITS = {
    torch.bfloat16: torch.uint16,
    torch.float8_e4m3fn: torch.uint8,
    torch.float8_e5m2: torch.uint8,
}


def to_numpy(name: str, tensor: torch.Tensor) -> Array:
    """A tensor's elements: its own memory where it is contiguous and on the host, else a copy.

    bf16 comes as uint16, 8-bit floats as uint8: their bits.
    """
    if tensor.layout != torch.strided:
        raise error(
            "DTYPE_INVALID",
            f"{name} is sparse ({tensor.layout}): dense parameters take dense tensors; "
            f"use to_dense()",
        )
    if tensor.dtype not in DTYPES:
        allowed = ", ".join(str(known) for known in DTYPES)
        raise error("DTYPE_INVALID", f"{name}: value={tensor.dtype} allowed={allowed}")
    plain = tensor.detach().cpu().contiguous()
    bits = _AS_BITS.get(plain.dtype)
    return plain.view(bits).numpy() if bits is not None else plain.numpy()


def torch_dtype(parameter: Parameter) -> torch.dtype:
    """The dtype of a parameter in PyTorch."""
    known = _TORCH.get(parameter.dtype.lower())
    if known is None:
        raise error("DTYPE_INVALID", f"{parameter.name}: PyTorch has nothing for {parameter.dtype}")
    return known


def tied_names(state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """For every tensor that is another one too, the first name of that one."""
    first: dict[tuple[Any, ...], str] = {}
    tied = {}
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.numel() == 0:
            continue
        key = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if first.setdefault(key, name) != name:
            tied[name] = first[key]
    return tied


def _tied_of(model: Model) -> dict[str, str]:
    # Before there were aliases, the other names stood in the metadata.
    return model.aliases | dict(json.loads(model.metadata.get(TIED, "{}")))


def create_from_module(
    client: Client,
    name: str,
    module: torch.nn.Module,
    *,
    codec: str = "",
    optimizer: Optimizer | str | None = None,
    **options: Any,
) -> Model:
    """Creates a model of a module's state dict, with its values; nobody sees it before.

    Args:
        codec: stored form of the floating-point tensors; empty: their own dtype's.
        optimizer: steps the parameters that require gradients; buffers and the others take none.
        options: as `Client.create_model` takes them: consistency, workers, …
    """
    trained = {key for key, one in module.named_parameters(remove_duplicate=False)
               if one.requires_grad}  # fmt: skip
    frozen = Optimizer("none") if optimizer is not None else None
    state = module.state_dict()
    return _create(client, name, state, codec, trained, frozen, optimizer=optimizer, **options)


def _create(
    client: Client,
    name: str,
    state: Mapping[str, torch.Tensor],
    codec: str,
    trained: set[str],
    frozen: Optimizer | None,
    **options: Any,
) -> Model:
    tied = tied_names(state)
    arrays = {key: to_numpy(key, one) for key, one in state.items() if key not in tied}
    tensors = {}
    for key in arrays:
        dtype = DTYPES[state[key].dtype]
        computable = dtype in ("f32", "f16", "bf16")
        own = frozen if computable and key not in trained else None
        tensors[key] = Tensor(
            tuple(state[key].shape), dtype, codec if computable else "", optimizer=own
        )
    model = client.create_model(name, tensors, aliases=tied, loading=True, **options)
    try:
        client.push(model, arrays)
    except BaseException:
        client.delete_model(name, loading=True)
        raise
    return client.publish(model)


def push_state_dict(
    client: Client,
    model: Model | str,
    state: Mapping[str, torch.Tensor],
    *,
    strict: bool = True,
    codec: str = "",
    create: bool = True,
) -> Model:
    """Stores a state dict; a model of that name that is not there is created.

    Args:
        strict: the model's names and the state dict's must be the same; otherwise those that both
            have are pushed.
        codec: stored form of floating-point tensors of a model that is created.

    Raises:
        UnknownError: PARAMETER_UNKNOWN, listing what is missing and what is too much.
        InvalidError: DTYPE_INVALID, SHAPE_INVALID; nothing was pushed.
    """
    if isinstance(model, str):
        try:
            model = client.model(model)
        except LookupError:
            if not create:
                raise
            return _create(client, model, state, codec, set(state), None)  # type: ignore[arg-type]
    tied = tied_names(state)
    stored = {key: one for key, one in state.items() if key not in tied}
    _compare(model, set(stored) | set(tied), strict, set(tied))
    arrays = {}
    for key, one in stored.items():
        if key in model:
            parameter = model[key]
            array = to_numpy(key, one)
            if one.dtype == torch.bfloat16 and parameter.dtype != "BF16":
                array = one.detach().to(torch.float32).cpu().contiguous().numpy()
            arrays[key] = array
    for alias, first in model.aliases.items():
        if alias in arrays and first in arrays:
            if not stored[alias].equal(stored[first]):
                raise error(
                    "ALIAS_INVALID",
                    f'"{alias}" is another name of "{first}" in model "{model.name}", and has '
                    f"other values in the state dict",
                )
            del arrays[alias]
    client.push(model, arrays)
    return model


def pull_state_dict(
    client: Client,
    model: Model | str,
    into: torch.nn.Module | Mapping[str, torch.Tensor] | None = None,
    *,
    strict: bool = True,
    dtype: torch.dtype | None = None,
    codec: str | None = None,
) -> dict[str, torch.Tensor]:
    """Gives a model as a state dict.

    Args:
        into: a module or a state dict whose tensors take the values, in place and whatever their
            device and dtype; None: new tensors.
        strict: with `into`, its names and the model's must be the same.
        dtype: of the floating-point tensors; None: the model's own, or that of `into`.
        codec: what travels; None: the stored form.

    Raises:
        UnknownError: PARAMETER_UNKNOWN, listing what is missing and what is too much.
        InvalidError: SHAPE_INVALID; no tensor of `into` was changed.
    """
    known = client.model(model) if isinstance(model, str) else model
    tied = _tied_of(known)
    targets: Mapping[str, torch.Tensor] | None = (
        into.state_dict() if isinstance(into, torch.nn.Module) else into
    )
    if targets is not None:
        _compare(known, set(targets), strict, set(tied))
    names = [key for key in known if targets is None or key in targets]
    made: dict[str, torch.Tensor] = {}
    out: dict[str, Array] = {}
    for key in names:
        parameter = known[key]
        target = None if targets is None else targets[key]
        if target is not None and tuple(target.shape) != parameter.shape:
            raise error(
                "SHAPE_INVALID",
                f"{key}: value={list(target.shape)} of the target, "
                f"{list(parameter.shape)} of the model",
            )
        made[key], out[key] = _place(parameter, target, dtype)
    client.pull(known, names, codec=codec, out=out)
    with torch.no_grad():
        for key in names:
            target = None if targets is None else targets[key]
            if target is not None and made[key] is not target:
                target.copy_(made[key])
                made[key] = target
            elif target is None and dtype is not None and made[key].is_floating_point():
                made[key] = made[key].to(dtype)
    for alias, first in tied.items():
        if first in made and (targets is None or alias in targets):
            if targets is not None and targets[alias].data_ptr() != made[first].data_ptr():
                with torch.no_grad():
                    targets[alias].copy_(made[first])
            made[alias] = made[first] if targets is None else targets[alias]
    return made


def _place(
    parameter: Parameter, target: torch.Tensor | None, dtype: torch.dtype | None
) -> tuple[torch.Tensor, Array]:
    """A tensor that can be pulled into, the target itself if it can, and its memory."""
    allowed = [torch.float32, torch.float16, torch.bfloat16]
    if not parameter.computable:
        allowed = [torch_dtype(parameter)]
    direct = (
        target is not None
        and target.device.type == "cpu"
        and target.layout == torch.strided
        and target.is_contiguous()
        and target.dtype in allowed
    )
    if direct:
        assert target is not None
        return target, to_numpy(parameter.name, target)
    wanted = dtype if dtype in allowed else torch_dtype(parameter)
    fresh = torch.empty(parameter.shape, dtype=wanted if parameter.computable else allowed[0])
    return fresh, to_numpy(parameter.name, fresh)


def _compare(model: Model, names: set[str], strict: bool, tied: set[str]) -> None:
    there = set(model) | tied | (names & set(model.aliases))
    lacking, extra = sorted(there - names), sorted(names - there)
    if strict and (lacking or extra):
        text = [f'the state dict and model "{model.name}" differ']
        if lacking:
            text.append(f"not in the state dict: {', '.join(lacking[:8])} ({len(lacking)} in all)")
        if extra:
            text.append(f"not in the model: {', '.join(extra[:8])} ({len(extra)} in all)")
        raise error("PARAMETER_UNKNOWN", "; ".join(text) + "; strict=False takes what both have")


def flat_numpy(tensor: torch.Tensor) -> Array:
    """A contiguous tensor of the host as a flat array of its own memory."""
    return np.asarray(tensor.detach().numpy()).reshape(-1)
