"""torch.distributed.checkpoint on the store: `dcp.save` and `dcp.load`, with resharding.

A checkpoint is a model: one parameter for each tensor, whole, whatever ranks its shards came from.
So a load with another sharding pulls slices, and any client can read it. What is no tensor (step
counters, hyper-parameters) must be plain values, and lies as JSON text in the model
`NAME.objects`, which is written first: nothing is pickled. The model becomes visible when all ranks
have written.

    dcp.save(state, storage_writer=StoreWriter(client, "run-7/step-1000"))
    dcp.load(state, storage_reader=StoreReader(client, "run-7/step-1000"))
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
from typing import Any

import numpy as np
import torch
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import (
    LoadItemType,
    LoadPlan,
    LoadPlanner,
    ReadItem,
    SavePlan,
    SavePlanner,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from tensorhold.client import Client
from tensorhold.errors import TensorholdError, error
from tensorhold.model import Model, Tensor
from tensorhold.torch.state import DTYPES, to_numpy, torch_dtype

OBJECTS = ".objects"
_TEXT = "json"


def delete_checkpoint(client: Client, name: str) -> None:
    """Deletes a checkpoint that StoreWriter wrote."""
    for model in (name, name + OBJECTS):
        try:
            client.delete_model(model, loading=True)
        except LookupError:
            continue


class StoreWriter(StorageWriter):
    """Writes a checkpoint into a model of the store.

    Args:
        client: of this rank.
        name: of the model; it must not exist.
        overwrite: a model of that name is deleted first, and is gone if the save fails.
        codec: stored form of floating-point tensors; empty: their own dtype's.
    """

    def __init__(
        self, client: Client, name: str, *, overwrite: bool = False, codec: str = ""
    ) -> None:
        self._client = client
        self._name = name
        self._overwrite = overwrite
        self._codec = codec
        self._model: Model | None = None

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        if checkpoint_id is not None:
            self._name = str(checkpoint_id)
        self._model = None

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        pass

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        tensors: dict[str, Tensor] = {}
        for item in (item for plan in plans for item in plan.items):
            if item.type is not WriteItemType.BYTE_IO:
                tensors[item.index.fqn] = self._tensor(item)
        if self._overwrite:
            delete_checkpoint(self._client, self._name)
        # A model has a parameter at least; a checkpoint may have objects only.
        tensors = tensors or {"no tensors": Tensor((0,))}
        self._model = self._client.create_model(self._name, tensors, loading=True)
        return [dataclasses.replace(plan, storage_data=self._model.id) for plan in plans]

    def _tensor(self, item: WriteItem) -> Tensor:
        data = item.tensor_data
        assert data is not None
        dtype = data.properties.dtype
        if dtype not in DTYPES:
            raise error("DTYPE_INVALID", f"{item.index.fqn}: value={dtype} is not stored")
        label = DTYPES[dtype]
        codec = self._codec if label in ("f32", "f16", "bf16") else ""
        return Tensor(tuple(data.size), label, codec)

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        model = self._model or self._client.model(self._name, loading=True)
        if model.id != plan.storage_data:
            raise error("STALE", f'model "{self._name}" is not the one that this save has begun')
        results = []
        values: dict[str, np.ndarray[Any, Any]] = {}
        index: dict[str, Any] = {}
        for item in plan.items:
            fqn = item.index.fqn
            if item.type is WriteItemType.BYTE_IO:
                text = _to_json(fqn, planner.lookup_object(item.index))  # type: ignore[attr-defined]
                results.append(WriteResult(item.index, len(text), (fqn, text)))
                continue
            tensor = planner.resolve_data(item)
            assert isinstance(tensor, torch.Tensor)
            if fqn in values:  # another shard of the same tensor
                self._client.push(model, values, index=index)
                values, index = {}, {}
            values[fqn] = to_numpy(fqn, tensor)
            assert item.tensor_data is not None
            chunk = item.tensor_data.chunk
            if tuple(chunk.sizes) != model[fqn].shape:
                index[fqn] = _index(chunk.offsets, chunk.sizes)
            results.append(WriteResult(item.index, tensor.nbytes, None))
        self._client.push(model, values, index=index)
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        objects = dict(
            one.storage_data for some in results for one in some if one.storage_data is not None
        )
        text = json.dumps({"objects": objects, "paths": _paths(metadata.planner_data)})
        encoded = np.frombuffer(text.encode(), np.uint8)
        try:
            self._client.create_model(self._name + OBJECTS, {_TEXT: encoded})
        except TensorholdError as failure:
            if failure.reason != "MODEL_EXISTS":
                raise
            self._client.delete_model(self._name + OBJECTS)
            self._client.create_model(self._name + OBJECTS, {_TEXT: encoded})
        assert self._model is not None
        self._client.publish(self._model)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return 1 <= len(str(checkpoint_id).encode()) <= 500


class StoreReader(StorageReader):
    """Reads a checkpoint, or any other model of the store, with the sharding that is asked for."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self._model: Model | None = None
        self._objects: dict[str, str] = {}

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        if checkpoint_id is not None:
            self._name = str(checkpoint_id)
        self._model = None

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        model = self._open()
        tensors: dict[str, Any] = {
            one.name: TensorStorageMetadata(
                properties=TensorProperties(dtype=torch_dtype(one)),
                size=torch.Size(one.shape),
                chunks=[
                    ChunkStorageMetadata(
                        offsets=torch.Size([0] * len(one.shape)), sizes=torch.Size(one.shape)
                    )
                ],
            )
            for one in model.values()
        }
        paths = {}
        try:
            stored = self._client.pull(self._name + OBJECTS)[_TEXT].tobytes()
        except LookupError:
            pass  # a model that was not written by StoreWriter
        else:
            parsed = json.loads(stored)
            self._objects = dict(parsed["objects"])
            paths = {key: tuple(path) for key, path in parsed["paths"].items()}
            tensors.update({key: BytesStorageMetadata() for key in self._objects})
        return Metadata(state_dict_metadata=tensors, planner_data=paths)

    def _open(self) -> Model:
        if self._model is None:
            self._model = self._client.model(self._name)
        return self._model

    def set_up_storage_reader(
        self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any
    ) -> None:
        self._open()

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        model = self._open()
        whole: dict[str, ReadItem] = {}
        for item in plan.items:
            fqn = item.storage_index.fqn
            if item.type is LoadItemType.BYTE_IO:
                # The planner loads what torch.save made: it is made here, of parsed JSON.
                data = io.BytesIO()
                torch.save(_revived(json.loads(self._objects[fqn])), data)
                data.seek(0)
                planner.load_bytes(item, data)
            elif tuple(item.lengths) == model[fqn].shape and fqn not in whole:
                whole[fqn] = item
            else:
                at = _index(item.storage_offsets, item.lengths)
                self._take(planner, item, self._client.pull_slice(model[fqn], at))
        pulled = self._client.pull(model, whole)
        for fqn, item in whole.items():
            self._take(planner, item, pulled[fqn])
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _take(self, planner: LoadPlanner, item: ReadItem, values: Any) -> None:
        parameter = self._open()[item.storage_index.fqn]
        target = planner.resolve_tensor(item).detach()
        source = torch.from_numpy(values)
        if not parameter.computable and source.dtype != torch_dtype(parameter):
            source = source.view(torch_dtype(parameter))
        if target.shape != source.shape:
            raise error(
                "SHAPE_INVALID",
                f"{parameter.name}: value={list(source.shape)} allowed={list(target.shape)}",
            )
        target.copy_(source)
        planner.commit_tensor(item, target)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return StoreWriter.validate_checkpoint_id(checkpoint_id)


def _index(offsets: Any, sizes: Any) -> tuple[slice, ...]:
    return tuple(slice(o, o + n) for o, n in zip(offsets, sizes, strict=True))


def _to_json(fqn: str, value: Any) -> str:
    try:
        return json.dumps(_plain(value))
    except TypeError as unknown:
        raise error(
            "DTYPE_INVALID",
            f"{fqn}: {unknown}; only tensors and numbers, text, bytes, None, lists, tuples and "
            f"dicts of them are stored: nothing is pickled",
        ) from None


def _plain(value: Any) -> Any:
    """As JSON has it; a tuple as {"tuple": […]}, a dict as {"dict": [[key, value], …]}.

    Bytes as {"bytes": base64}.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is bytes:
        return {"bytes": base64.b64encode(value).decode()}
    if type(value) is list:
        return [_plain(one) for one in value]
    if type(value) is tuple:
        return {"tuple": [_plain(one) for one in value]}
    if isinstance(value, dict):
        return {"dict": [[_plain(key), _plain(one)] for key, one in value.items()]}
    raise TypeError(f"value={type(value).__name__}")


def _revived(value: Any) -> Any:
    if isinstance(value, list):
        return [_revived(one) for one in value]
    if isinstance(value, dict):
        if "bytes" in value:
            return base64.b64decode(value["bytes"])
        if "tuple" in value:
            return tuple(_revived(one) for one in value["tuple"])
        return {_revived(key): _revived(one) for key, one in value["dict"]}
    return value


def _paths(planner_data: Any) -> dict[str, Any]:
    return {key: list(path) for key, path in (planner_data or {}).items()}
