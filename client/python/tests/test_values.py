"""Whole models, tensors and slices, pushed and pulled; what arrives is what was sent."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import tensorhold
from tensorhold import Tensor

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, dtype=np.float32)


def test_what_was_created_with_values_is_pulled_again(client, name):
    values = {
        "w": normal(1000, 700),
        "scalar": np.array(3, np.float32),
        "half": normal(5, 3).astype(np.float16),
        "ids": np.arange(600_000, dtype=np.int64).reshape(-1, 3),
        "mask": np.array([True, False, True]),
        "empty": np.empty((0, 4), np.float32),
    }
    model = client.create_model(name, values)
    assert list(model) == list(values)
    assert model["w"].shape == (1000, 700)
    assert model["w"].blocks == 3
    pulled = client.pull(model)
    for key, value in values.items():
        np.testing.assert_array_equal(pulled[key], value)
    assert "w  " in repr(model)
    assert "4 parameters" not in repr(model)


def test_names_select_and_out_is_filled_in_place(client, name):
    client.create_model(name, {"a": normal(100), "b": normal(300_000)})
    out = np.zeros(300_000, np.float32)
    pulled = client.pull(name, ["b"], out={"b": out})
    assert list(pulled) == ["b"]
    assert pulled["b"] is out
    assert np.count_nonzero(out) > 299_000


def test_thousands_of_tensors_are_pulled_at_once(client, name):
    model = client.create_model(name, {f"p{i}": (3,) for i in range(5000)})
    client.push(model, {"p4999": np.ones(3, np.float32)})
    pulled = client.pull(model)
    assert len(pulled) == 5000
    assert sum(float(one.sum()) for one in pulled.values()) == 3


def test_slices_are_numpys(client, name):
    w = normal(600, 1000)  # three blocks
    model = client.create_model(name, {"w": w})
    for index in (
        np.s_[10:20], np.s_[:, 5:7], np.s_[250:300, 400:], np.s_[5], np.s_[..., -1],
        np.s_[599, 999], np.s_[3:3], np.s_[:, 0],
    ):  # fmt: skip
        np.testing.assert_array_equal(client.pull_slice(model["w"], index), w[index])
    part = normal(40, 100)
    client.push(model, {"w": part}, index={"w": np.s_[250:290, 900:]})
    w[250:290, 900:] = part
    client.push(model, {"w": normal(600) * 0 + 1}, "add", index={"w": np.s_[:, 0]})
    w[:, 0] += 1
    np.testing.assert_array_equal(client.pull(model)["w"], w)


def test_push_pull_gives_what_is_there_then(client, name):
    w = normal(400_000)
    model = client.create_model(name, {"w": w})
    pulled = client.push_pull(model, {"w": w}, "add")
    np.testing.assert_array_equal(pulled["w"], w + w)


@pytest.mark.parametrize("codec", ["f16", "bf16", "q8_0", "q8_linear", "fp8_e4m3", "q4_0", "nf4"])
def test_codecs_decode_to_the_servers_bits(client, name, codec):
    w = np.concatenate([normal(262_144) * 0.02, normal(1000) * 1e-6, np.zeros(333, np.float32)])
    model = client.create_model(name, {"w": Tensor(w.shape, codec=codec)})
    client.push(model, {"w": w})
    here = client.pull(model)["w"]
    servers = client.pull(model, codec="f32")["w"]
    np.testing.assert_array_equal(here.view(np.uint32), servers.view(np.uint32))
    assert np.abs(here - w).max() < 0.4


@pytest.mark.parametrize("codec", ["f16", "bf16", "q8_0", "q8_linear", "q4_0"])
def test_codecs_encode_to_the_servers_bits(client, name, codec):
    w = np.concatenate([normal(262_144), normal(777) * 1e-7, np.zeros(300, np.float32)])
    model = client.create_model(
        name, {"here": Tensor(w.shape, codec=codec), "there": Tensor(w.shape, codec=codec)}
    )
    client.push(model, {"here": w}, codec=codec)
    client.push(model, {"there": w})
    pulled = client.pull(model)
    np.testing.assert_array_equal(pulled["here"].view(np.uint32), pulled["there"].view(np.uint32))


def test_bits_of_bf16_travel_as_uint16(client, name):
    bits = RNG.integers(0, 0x7F00, 70_000, dtype=np.uint16)
    model = client.create_model(name, {"w": Tensor(bits.shape, dtype="bf16")})
    client.push(model, {"w": bits})
    out = np.empty_like(bits)
    client.pull(model, out={"w": out})
    np.testing.assert_array_equal(out, bits)
    np.testing.assert_array_equal(
        client.pull(model)["w"], (bits.astype(np.uint32) << 16).view(np.float32)
    )


def test_models_are_listed_described_and_deleted(client, name):
    client.create_model(name, {"w": (10, 10)}, metadata={"from": "a test"})
    assert client.model(name).metadata == {"from": "a test"}
    assert [entry.name for entry in client.list_models(name)] == [name]
    client.delete_model(name)
    assert client.list_models(name) == []
    with pytest.raises(tensorhold.UnknownError, match=name):
        client.model(name)


def test_the_same_with_asyncio(server, name):
    async def work() -> None:
        async with await tensorhold.aio.connect(server.address) as client:
            model = await client.create_model(name, {"w": normal(1000), "v": normal(1000)})
            before = await client.pull(model)
            await asyncio.gather(
                *(client.push(model, {"w": np.ones(1000, np.float32)}, "add") for _ in range(8))
            )
            after = await client.pull(model)
            np.testing.assert_allclose(after["w"], before["w"] + 8, rtol=1e-6)
            np.testing.assert_array_equal(after["v"], before["v"])
            part = await client.pull_slice(model["v"], np.s_[3:5])
            np.testing.assert_array_equal(part, before["v"][3:5])

    asyncio.run(work())
