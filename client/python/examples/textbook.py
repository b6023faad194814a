"""A textbook's loop: a model in the store, N processes that train it, a quantized copy.

python examples/textbook.py 127.0.0.1:7070 --workers 4
torchrun --nproc-per-node 4 examples/textbook.py 127.0.0.1:7070
"""

import argparse
import os

import torch
import torch.multiprocessing as mp
from sklearn.datasets import load_digits  # 1,797 handwritten digits of 8 × 8

import tensorhold
from tensorhold.torch import RemoteOptimizer, create_from_module, pull_state_dict, push_state_dict


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))


def train(rank, servers, workers, epochs):
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.data[:1500][rank::workers], dtype=torch.float32) / 16
    y = torch.tensor(digits.target[:1500][rank::workers])
    with tensorhold.connect(servers) as client, client.join("digits", rank, workers) as worker:
        net = network()
        optimizer = RemoteOptimizer(net.named_parameters(), worker)
        for _ in range(epochs):
            for batch in range(1500 // workers // 125):
                part = slice(batch * 125, batch * 125 + 125)
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(net(x[part]), y[part])
                loss.backward()  # gradients go to the store while others are computed
                optimizer.step()  # and the updated weights come back


def main():
    options = argparse.ArgumentParser()
    options.add_argument("servers")
    options.add_argument("--workers", type=int, default=int(os.environ.get("WORLD_SIZE", 2)))
    options.add_argument("--epochs", type=int, default=100)
    o = options.parse_args()
    rank = int(os.environ.get("RANK", 0))
    with tensorhold.connect(o.servers) as client:
        if rank == 0:
            adam = tensorhold.Optimizer("adam", {"lr": 3e-3})
            create_from_module(
                client, "digits", network(), optimizer=adam, consistency="bsp", workers=o.workers
            )
        if "RANK" in os.environ:  # under torchrun each process is a worker
            client.wait_for_model("digits")
            train(rank, o.servers, o.workers, o.epochs)
        else:
            mp.spawn(train, (o.servers, o.workers, o.epochs), nprocs=o.workers)
        if rank == 0:
            trained = pull_state_dict(client, "digits")
            push_state_dict(client, "digits-q8", trained, codec="q8_0")
            for name in ("digits", "digits-q8"):
                net = network()
                pull_state_dict(client, name, net)
                digits = load_digits()
                test = torch.tensor(digits.data[1500:], dtype=torch.float32) / 16
                right = net(test).argmax(dim=1) == torch.tensor(digits.target[1500:])
                print(f"{name}: {client.model(name).nbytes:,} bytes, {right.float().mean():.4f}")


if __name__ == "__main__":
    main()
