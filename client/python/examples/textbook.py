"""A textbook's loop: a model in the store, N processes that train it, a quantized copy.

python examples/textbook.py 127.0.0.1:7070 4
torchrun --nproc-per-node 4 examples/textbook.py 127.0.0.1:7070
"""

import sys

import torch
from sklearn.datasets import load_digits  # 1,797 handwritten digits of 8 × 8
from torch.utils.data import DataLoader, TensorDataset

import tensorhold
import tensorhold.torch as th


def train(rank, workers, servers, epochs):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
    mine = TensorDataset(x[rank:1500:workers], y[rank:1500:workers])
    with tensorhold.connect(servers) as client:
        if rank == 0:
            adam = tensorhold.Optimizer("adam", {"lr": 3e-3})
            options = {"optimizer": adam, "consistency": "bsp", "workers": workers}
            th.create_from_module(client, "digits", net, **options)
        client.wait_for_model("digits")
        with client.join("digits", rank, workers) as worker:
            optimizer = th.RemoteOptimizer(net.named_parameters(), worker)
            for _ in range(epochs):
                for inputs, labels in DataLoader(mine, batch_size=125, drop_last=True):
                    optimizer.zero_grad()
                    loss = torch.nn.functional.cross_entropy(net(inputs), labels)
                    loss.backward()  # gradients go to the store while others are computed
                    optimizer.step()  # and the updated weights come back
        if rank == 0:
            th.push_state_dict(client, "digits-q8", net.state_dict(), codec="q8_0")
            for name in ("digits", "digits-q8"):
                th.pull_state_dict(client, name, net)
                right = net(x[1500:]).argmax(dim=1) == y[1500:]
                print(f"{name}: {client.model(name).nbytes:,} bytes, {right.float().mean():.4f}")


if __name__ == "__main__":
    servers, workers, epochs = sys.argv[1:] + ["2", "100"][len(sys.argv) - 2 :]
    th.launch(train, int(workers), servers, int(epochs))
