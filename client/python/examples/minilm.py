"""A fine-tune: MiniLM out of the store, as transformers' BertModel, trained by 2 workers.

The task: from which package of Python's standard library is a docstring? Real text, and it is there
wherever Python is. The same job under DistributedDataParallel (gloo) is drawn beside it.

    tensorhold load all-minilm-l6-v2.onnx --name minilm
    python examples/minilm.py 127.0.0.1:7070 all-minilm-l6-v2-tokenizer.json --plot minilm.svg
"""

import argparse
import ast
import json
import os
import re
import sysconfig
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

import tensorhold
from tensorhold.torch import RemoteOptimizer, create_from_module, pull_state_dict

PACKAGES = (
    "asyncio", "email", "http", "idlelib", "importlib", "logging", "multiprocessing", "tkinter",
    "unittest", "xml",
)  # fmt: skip
LAYER = (
    "attention.self.query", "attention.self.key", "attention.self.value",
    "attention.output.dense", "intermediate.dense", "output.dense",
)  # fmt: skip
RATE, WARMUP = 2e-4, 5


def bert_names(stored):
    """BertModel's name for each name of the ONNX, and whether it lies transposed there.

    The export keeps the names of biases, norms and embeddings; matrices are numbered in the order
    in which the graph multiplies by them.
    """
    names = {}
    matrices = sorted(
        (name for name in stored if name.startswith("onnx::MatMul")),
        key=lambda name: int(name.rsplit("_", 1)[1]),
    )
    for i, name in enumerate(matrices):
        layer, which = divmod(i, len(LAYER))
        names[name] = (f"encoder.layer.{layer}.{LAYER[which]}.weight", True)
    for name in stored:
        if re.match(r"embeddings\.(?!position_ids)|encoder\.|pooler\.", name):
            names[name] = (name, False)
    return names


class Classifier(torch.nn.Module):
    """The mean of a sentence's word vectors, and a linear layer on it."""

    def __init__(self, client, model):
        super().__init__()
        torch.manual_seed(0)
        config = BertConfig(
            num_hidden_layers=6, hidden_size=384, intermediate_size=1536, num_attention_heads=12,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        self.bert = BertModel(config, add_pooling_layer=False)
        stored = pull_state_dict(client, model)
        state = {
            bert: stored[name].t().contiguous() if transposed else stored[name]
            for name, (bert, transposed) in bert_names(stored).items()
            if not bert.startswith("pooler.")
        }
        missing, unexpected = self.bert.load_state_dict(state, strict=False)
        assert not unexpected, unexpected
        assert all("position_ids" in name or "token_type_ids" in name for name in missing), missing
        self.head = torch.nn.Linear(384, len(PACKAGES))

    def forward(self, ids, mask):
        words = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        mask = mask.unsqueeze(-1).float()
        return self.head((words * mask).sum(1) / mask.sum(1))


def docstrings():
    """(text, package) of the standard library, in a fixed order that mixes the packages."""
    found = []
    for label, package in enumerate(PACKAGES):
        for path in sorted(Path(sysconfig.get_path("stdlib"), package).rglob("*.py")):
            try:
                tree = ast.parse(path.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    text = ast.get_docstring(node)
                    if text and len(text) > 40:
                        found.append((text, label))
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(1))
    return [found[i] for i in order.tolist()]


def batches(tokenizer, rank, workers, steps, size):
    some = Tokenizer.from_file(tokenizer)
    some.enable_truncation(32)
    some.enable_padding(length=32)
    texts = docstrings()
    for step in range(steps):
        start = (step * workers + rank) * size
        chosen = [texts[i % len(texts)] for i in range(start, start + size)]
        encoded = some.encode_batch([text for text, _ in chosen])
        yield (
            torch.tensor([one.ids for one in encoded]),
            torch.tensor([one.attention_mask for one in encoded]),
            torch.tensor([label for _, label in chosen]),
        )


def losses(net, rule, work, schedule=None):
    """The loss of every step, averaged over the workers."""
    curve = []
    for ids, mask, labels in work:
        rule.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(ids, mask), labels)
        loss.backward()
        rule.step()
        if schedule is not None:
            schedule.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        curve.append(float(mean) / dist.get_world_size())
    return curve


def worker(rank, o, store):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=o.workers)
    with tensorhold.connect(o.servers, deadline=120) as client:
        net = Classifier(client, o.model)
        if rank == 0:
            adam = tensorhold.Optimizer(
                "adamw", {"lr": RATE, "weight_decay": 0.01}, schedule="constant",
                schedule_hyper={"warmup": WARMUP},
            )  # fmt: skip
            create_from_module(
                client, o.name, net, optimizer=adam, consistency="bsp", workers=o.workers
            )
        client.wait_for_model(o.name)
        with client.join(o.name, rank, o.workers) as joined:
            remote = RemoteOptimizer(net.named_parameters(), joined)
            work = batches(o.tokenizer, rank, o.workers, o.steps, o.batch)
            curves = {"tensorhold, 2 workers": losses(net, remote, work)}
        if not o.no_ddp:
            ddp = torch.nn.parallel.DistributedDataParallel(Classifier(client, o.model))
            rule = torch.optim.AdamW(ddp.parameters(), lr=RATE, weight_decay=0.01)
            schedule = torch.optim.lr_scheduler.LambdaLR(rule, lambda e: min(1, e / WARMUP))
            work = batches(o.tokenizer, rank, o.workers, o.steps, o.batch)
            curves["DistributedDataParallel, gloo"] = losses(ddp, rule, work, schedule)
    if rank == 0:
        print(json.dumps(curves))
        if o.plot:
            draw(curves, o.plot)
    dist.destroy_process_group()


def draw(curves, path):
    import matplotlib.pyplot as plt

    axes = plt.subplots(figsize=(8, 4))[1]
    for (name, curve), style in zip(curves.items(), ("-", "--"), strict=False):
        axes.plot(range(1, len(curve) + 1), curve, style, label=name)
    axes.set(xlabel="step", ylabel="loss", title="MiniLM, docstrings to packages")
    axes.legend()
    plt.savefig(path)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("servers")
    options.add_argument("tokenizer")
    options.add_argument("--model", default="minilm")
    options.add_argument("--name", default="minilm-docstrings")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--plot")
    options.add_argument("--no-ddp", action="store_true")
    o = options.parse_args()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(worker, (o, os.path.join(tempfile.mkdtemp(), "store")), nprocs=o.workers)


if __name__ == "__main__":
    main()
