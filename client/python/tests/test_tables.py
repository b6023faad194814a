"""Tables: rows by key, and embeddings over them, against a real server."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch

import tensorhold
from tensorhold import Optimizer, Table, TableSpec
from tensorhold.torch import RemoteEmbedding, RemoteEmbeddingBag

UNIFORM = TableSpec(8, "uniform", {"low": -0.5, "high": 0.5}, seed=7)
SGD = Optimizer("sgd", {"lr": 0.5})
ONE = Optimizer("sgd", {"lr": 1.0})


def table(client, name, spec=UNIFORM, **options) -> Table:
    return client.create_model(name, {"rows": spec}, **options).table("rows")


def test_rows_are_pulled_as_they_were_pushed(client, name):
    rows = table(client, name)
    keys = np.random.default_rng(1).choice(np.iinfo(np.int64).max, 20_000, replace=False)
    keys[:3] = -1, np.iinfo(np.int64).min, 0
    values = np.random.default_rng(2).normal(size=(len(keys), 8)).astype(np.float32)
    client.push_rows(rows, keys, values)
    np.testing.assert_array_equal(client.pull_rows(rows, keys), values)
    shuffled = np.random.default_rng(3).permutation(len(keys)).reshape(100, 200)
    np.testing.assert_array_equal(client.pull_rows(rows, keys[shuffled]), values[shuffled])
    client.push_rows(rows, keys[:5], values[:5], "add")
    np.testing.assert_array_equal(client.pull_rows(rows, keys[:6])[:5], 2 * values[:5])


def test_rows_that_were_never_pushed_are_the_initializers(client, name):
    rows, twin = table(client, name), table(client, name + "-twin")
    first = client.pull_rows(rows, range(1000))
    assert np.abs(first).max() <= 0.5
    assert first.std() > 0.2
    np.testing.assert_array_equal(client.pull_rows(twin, range(1000)), first)  # of one seed
    client.push_rows(rows, [3, 998], np.ones((2, 8), np.float32))
    values, written = client.pull_written_rows(rows, [2, 3, 998, 999])
    assert written.tolist() == [False, True, True, False]
    np.testing.assert_array_equal(values, [[0] * 8, [1] * 8, [1] * 8, [0] * 8])


def test_repeated_keys_travel_once(client, name):
    rows = table(client, name, TableSpec(2))
    client.push_rows(rows, [5, 1, 5], np.array([[1, 1], [2, 2], [4, 4]], np.float32))
    assert client.pull_rows(rows, [5, 1, 5]).tolist() == [[4, 4], [2, 2], [4, 4]]
    client.push_rows(rows, [5, 1, 5], np.array([[1, 1], [2, 2], [4, 4]], np.float32), "add")
    assert client.pull_rows(rows, [[5], [1]]).tolist() == [[[9, 9]], [[4, 4]]]


def test_texts_have_the_keys_of_the_java_sdk(client, name):
    rows = table(client, name)
    # The first 8 bytes of SHA-256("abc"), FIPS 180-2, appendix B.1: ba7816bf 8f01cfea.
    assert Table.key("abc") == 0xBA7816BF8F01CFEA - (1 << 64)
    client.push_rows(rows, Table.keys(["king", "queen"]), np.ones((2, 8), np.float32))
    assert client.pull_written_rows(rows, Table.keys(["queen", "knave"]))[1].tolist() == [
        True,
        False,
    ]


def test_models_have_tables_beside_tensors(client, name):
    model = client.create_model(name, {"w": (3,), "rows": TableSpec(4, codec="q8_0")})
    assert list(model) == ["w"]
    assert "rows of 4 f32 as q8_0, zeros" in repr(model)
    with pytest.raises(LookupError, match="has no table"):
        model.table("w")
    with pytest.raises(LookupError, match="that is a table"):
        model["rows"]
    with client.session() as session:
        pushes = [
            session.push(model, {"w": np.ones(3, np.float32)}, "add"),
            session.push_rows(model.table("rows"), [1], np.ones((1, 4), np.float32), "add"),
        ]
        for push in pushes:
            push.result()
    np.testing.assert_array_equal(client.pull(model)["w"], 1)
    np.testing.assert_allclose(client.pull_rows(model.table("rows"), [1]), 1, rtol=1e-2)


def test_rows_are_part_of_a_workers_step(client, name):
    model = client.create_model(name, {"w": (3,), "rows": TableSpec(2)}, optimizer=ONE)
    with client.join(model, rank=0) as worker:
        ones = np.ones((3, 2), np.float32)
        worker.step({"w": np.ones(3, np.float32)}, {"rows": ([1, 2, 3], ones)})
        worker.step({"w": np.ones(3, np.float32)}, {"rows": ([1, 9, 1], ones)})
        with pytest.raises(tensorhold.InvalidError, match="NaN"):
            worker.step({"w": np.ones(3, np.float32)}, {"rows": ([1], ones[:1] * np.nan)})
        assert worker.last_step == 2
        worker.abandon()
    with client.join(model, rank=0) as again:
        assert again.last_step == 2
        again.core.last_step = 1  # as one that does not know that its step was made
        again.step({"w": np.ones(3, np.float32)}, {"rows": ([5], ones[:1])})
        again.step({"w": np.ones(3, np.float32)}, {"rows": ([], ones[:0])})
    rows = client.pull_rows(model.table("rows"), [1, 2, 3, 9, 5])
    assert rows[:, 0].tolist() == [-3, -1, -1, -1, 0]
    np.testing.assert_array_equal(client.pull(model)["w"], -3)


def test_the_asyncio_client_has_rows(server, name):
    async def work() -> None:
        async with await tensorhold.aio.connect(server.address) as client:
            rows = (await client.create_model(name, {"rows": UNIFORM})).table("rows")
            await asyncio.gather(
                *(client.push_rows(rows, [i], np.full((1, 8), i, np.float32)) for i in range(200))
            )
            pulled = await asyncio.gather(*(client.pull_rows(rows, [i, 199]) for i in range(200)))
            for i, one in enumerate(pulled):
                assert one[:, 0].tolist() == [i, 199]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("keys", "values", "reason"),
    [
        ([1.5], np.ones((1, 8), np.float32), "KEYS_INVALID"),
        (["king"], np.ones((1, 8), np.float32), "KEYS_INVALID"),
        (np.array([1 << 63], np.uint64), np.ones((1, 8), np.float32), "KEYS_INVALID"),
        ([1], np.ones((1, 8), np.float64), "DTYPE_INVALID"),
        ([1], np.ones((1, 7), np.float32), "SHAPE_INVALID"),
        ([1, 2], np.ones((1, 8), np.float32), "SHAPE_INVALID"),
        ([1], np.full((1, 8), np.nan, np.float32), "NONFINITE"),
    ],
    ids=["fractions", "texts", "too-large", "f64", "dim", "count", "nan"],
)
def test_bad_rows_change_nothing(client, name, keys, values, reason):
    rows = table(client, name, TableSpec(8))
    with pytest.raises(tensorhold.InvalidError) as refused:
        client.push_rows(rows, keys, values)
    assert refused.value.reason == reason
    assert not client.pull_written_rows(rows, [1, 2])[1].any()


def test_rows_are_pushed_once_and_pulled_again_when_the_server_comes_back(own_server, name):
    with tensorhold.connect(own_server.address, deadline=60) as client:
        rows = table(client, name, TableSpec(8), optimizer=SGD)
        client.push_rows(rows, range(5000), np.ones((5000, 8), np.float32))
        assert client.pull_rows(rows, [7])[0, 0] == 1
        with client.session() as session:
            own_server.kill()
            push = session.push_rows(rows, range(5000), np.ones((5000, 8), np.float32), "add")
            own_server.start()
            push.result()
        np.testing.assert_array_equal(client.pull_rows(rows, range(5000)), 2)


def embedding_steps(rows_of, local, batches):
    """Trains a remote and a local embedding on the same batches; gives both results."""
    rule = torch.optim.SGD(local.parameters(), lr=0.5)
    for batch in batches:
        rule.zero_grad()
        outs = [rows_of(*batch), local(*batch)]
        torch.testing.assert_close(outs[0], outs[1])
        for out in outs:
            (out.sin().sum() / 10).backward()
        rule.step()
    rows_of.flush()


def test_an_embedding_trains_the_rows_of_its_batches(client, name):
    rows = table(client, name, optimizer=SGD)
    remote = RemoteEmbedding(client, rows)
    assert "rows of 8" in repr(remote)
    local = torch.nn.Embedding.from_pretrained(
        torch.from_numpy(client.pull_rows(rows, range(50))), freeze=False
    )
    random = torch.Generator().manual_seed(1)
    batches = [(torch.randint(0, 40, (6, 5), generator=random),) for _ in range(20)]
    embedding_steps(remote, local, batches)
    pulled, written = client.pull_written_rows(rows, range(50))
    seen = sorted({int(one) for (batch,) in batches for one in batch.reshape(-1)})
    assert np.flatnonzero(written).tolist() == seen  # others were not touched
    np.testing.assert_allclose(pulled[seen], local.weight.detach().numpy()[seen], atol=1e-5)
    remote.eval()
    remote(torch.tensor([1]))
    remote.close()


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_a_bag_trains_the_rows_of_its_batches(client, name, mode):
    rows = table(client, name, optimizer=SGD)
    remote = RemoteEmbeddingBag(client, rows, mode)
    local = torch.nn.EmbeddingBag.from_pretrained(
        torch.from_numpy(client.pull_rows(rows, range(30))), freeze=False, mode=mode
    )
    ids = torch.randint(0, 30, (24,), generator=torch.Generator().manual_seed(2))
    offsets = torch.tensor([0, 3, 3, 10])
    embedding_steps(remote, local, [(ids, offsets), (ids.reshape(6, 4),), (ids, offsets)])
    np.testing.assert_allclose(
        client.pull_rows(rows, range(30)), local.weight.detach().numpy(), atol=1e-5
    )
    remote.close()


def test_padding_is_zeros_and_takes_no_gradient(client, name):
    rows = table(client, name, optimizer=SGD)
    remote = RemoteEmbedding(client, rows, padding_idx=0)
    out = remote(torch.tensor([[0, 4], [0, 0]]))
    assert not out[0, 0].any()
    assert out[0, 1].any()
    out.sum().backward()
    remote.flush()
    assert client.pull_written_rows(rows, [0, 4])[1].tolist() == [False, True]
    remote.close()


def test_a_prefetched_batch_is_as_it_was_then(client, name):
    rows = table(client, name, TableSpec(8), optimizer=SGD)
    remote = RemoteEmbedding(client, rows)
    ids = torch.tensor([1, 2])
    remote.prefetch(ids)
    next(iter(remote._fetched.values())).result()
    client.push_rows(rows, [1, 2], np.ones((2, 8), np.float32))
    assert not remote(ids).any()
    assert remote(ids).all()
    remote.close()


def test_a_gradient_that_is_refused_is_heard_of(client, name):
    rows = table(client, name, optimizer=SGD)
    remote = RemoteEmbedding(client, rows)
    (remote(torch.tensor([1])) * float("nan")).sum().backward()
    with pytest.raises(tensorhold.InvalidError, match="NONFINITE"):
        remote.flush()
    remote(torch.tensor([1])).sum().backward()
    remote.close()
    with pytest.raises(tensorhold.InvalidError, match="no optimizer"):
        RemoteEmbedding(client, table(client, name + "-plain"))
    with pytest.raises(tensorhold.InvalidError, match="int64"):
        remote(torch.tensor([1.5]))
