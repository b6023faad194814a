"""What bench/python runs; prints one line of JSON."""

import datetime
import json
import os
import statistics
import sys
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed import rpc

import tensorhold
from tensorhold.torch import (
    RemoteOptimizer,
    create_from_module,
    pull_state_dict,
    push_state_dict,
)

MIB = 1 << 20
ROUNDS = 8
WARM = 10  # rounds in which the server's compiler is still at work
STEPS_WARM, STEPS = 60, 20  # the same for steps of training


def rate(work, nbytes):
    """GB/s: the median of several rounds after two that are not counted."""
    seconds = []
    for i in range(ROUNDS + 2):
        began = time.perf_counter()
        work()
        if i >= 2:
            seconds.append(time.perf_counter() - began)
    return round(nbytes / statistics.median(seconds) / 1e9, 3)


def state_dicts(servers):
    """Both transports in turn, so that the server is as warm for one as for the other."""
    state = {f"layer.{i}.weight": torch.randn(4 * MIB) for i in range(16)}  # 16 x 16 MiB
    shapes = {key: one.shape for key, one in state.items()}
    into = {key: torch.empty_like(one) for key, one in state.items()}
    seconds = {}

    def timed(what, work):
        began = time.perf_counter()
        work()
        seconds.setdefault(what, []).append(time.perf_counter() - began)

    with (
        tensorhold.connect(servers, deadline=60) as own,
        tensorhold.connect(servers, deadline=60) as slow,
    ):
        slow.core.cluster.through_grpcio = True
        clients = {"": own, "_grpcio": slow}
        for suffix in clients:
            own.create_model("state" + suffix, shapes, durability="checkpointed")
        for _ in range(WARM + ROUNDS):
            for suffix, client in clients.items():
                model = client.model("state" + suffix)
                timed("push_gbs" + suffix, lambda: push_state_dict(client, model, state))
                timed("pull_gbs" + suffix, lambda: pull_state_dict(client, model, into))
        assert all(torch.equal(state[key], into[key]) for key in state)
        for suffix in clients:
            own.delete_model("state" + suffix)
    return {
        what: round(256 * MIB / statistics.median(some[WARM:]) / 1e9, 3)
        for what, some in seconds.items()
    }


HELD = {}


def hold(tensor):
    if "sum" in HELD:
        HELD["sum"] += tensor
    else:
        HELD["sum"] = tensor.clone()


def held():
    return HELD["sum"]


def rpc_peer(rank, store, results):
    options = rpc.TensorPipeRpcBackendOptions(
        init_method=f"file://{store}", _transports=["uv"], _channels=["basic"]
    )
    rpc.init_rpc(f"peer{rank}", rank=rank, world_size=2, rpc_backend_options=options)
    if rank == 0:
        parts = [torch.randn(16 * MIB) for _ in range(4)]  # 4 x 64 MiB

        def push():
            for future in [rpc.rpc_async("peer1", hold, (part,)) for part in parts]:
                future.wait()

        def pull():
            for future in [rpc.rpc_async("peer1", held) for _ in parts]:
                future.wait()

        results["rpc_push_gbs"] = rate(push, 256 * MIB)
        results["rpc_pull_gbs"] = rate(pull, 256 * MIB)
    rpc.shutdown()


def network():
    torch.manual_seed(0)
    widths = [1024] + [2048] * 6 + [1024]
    layers = []
    for one, other in zip(widths, widths[1:], strict=False):
        layers += [torch.nn.Linear(one, other), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers)  # 25 million parameters


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def step_seconds(net, rule, pids):
    """Seconds of a step, the median, and CPU seconds of each process in it, the mean."""
    x = torch.randn(64, 1024)
    seconds = []
    before = []
    for i in range(STEPS_WARM + STEPS):
        if i == STEPS_WARM:
            before = [cpu_seconds(pid) for pid in pids]
        began = time.perf_counter()
        rule.zero_grad()
        net(x).square().mean().backward()
        rule.step()
        if i >= STEPS_WARM:
            seconds.append(time.perf_counter() - began)
    cpu = [(cpu_seconds(pid) - b) / STEPS for pid, b in zip(pids, before, strict=True)]
    return statistics.median(seconds), cpu


def trainer(rank, store, servers, server, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    ddp = torch.nn.parallel.DistributedDataParallel(network())
    local, cpu = step_seconds(ddp, torch.optim.Adam(ddp.parameters(), lr=1e-4), [os.getpid()])
    results["step_ddp_cpu_s"] = round(cpu[0], 3)
    dist.barrier()
    for codec in ("f32", "bf16", "q8_linear"):
        net = network()
        with tensorhold.connect(servers, deadline=60) as client:
            name = f"step-{codec}"
            if rank == 0:
                create_from_module(
                    client, name, net, consistency="bsp", workers=2,
                    optimizer=tensorhold.Optimizer("adam", {"lr": 1e-4}),
                )
            client.wait_for_model(name)
            with client.join(name, rank, 2, gradients=codec) as worker:
                remote = RemoteOptimizer(net.named_parameters(), worker)
                ours, cpu = step_seconds(net, remote, [os.getpid(), server])
            dist.barrier()
            if rank == 0:
                client.delete_model(name)
                results[f"step_{codec}_s"] = round(ours, 3)
                results[f"step_{codec}_to_ddp"] = round(ours / local, 2)
                results[f"step_{codec}_cpu_s"] = round(cpu[0], 3)
                results[f"step_{codec}_server_cpu_s"] = round(cpu[1], 3)
    if rank == 0:
        results["step_ddp_adam_s"] = round(local, 3)
        results["step_parameters"] = sum(one.numel() for one in net.parameters())
    dist.destroy_process_group()


def main():
    what, servers, server, java, commit = sys.argv[1:]
    results = mp.Manager().dict()
    store = os.path.join(tempfile.mkdtemp(), "store")
    line = {"bench": f"python-{what}"}
    if what == "state":
        with open(java) as rows:
            rates = dict(row.split() for row in rows)
        line["java_pull_gbs"] = float(rates["pull-gbs"])
        line["java_push_gbs"] = float(rates["push-checkpointed-gbs"])
        line.update(state_dicts(servers))
        mp.spawn(rpc_peer, (store, results), nprocs=2)
        line.update(results)
        for one in ("pull", "push"):
            line[f"{one}_to_java"] = round(line[f"{one}_gbs"] / line[f"java_{one}_gbs"], 2)
            line[f"{one}_to_rpc"] = round(line[f"{one}_gbs"] / line[f"rpc_{one}_gbs"], 2)
    else:
        mp.spawn(trainer, (store, servers, int(server), results), nprocs=2)
        line.update(results)
    with open("/proc/cpuinfo") as info:
        cpu = next((row.split(":")[1].strip() for row in info if row.startswith("model name")), "?")
    line |= {"date": str(datetime.date.today()), "commit": commit,
             "machine": f"{os.cpu_count()} cores, {cpu}"}  # fmt: skip
    print(json.dumps(line))


if __name__ == "__main__":
    main()
