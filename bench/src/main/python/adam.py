"""Times PyTorch's Adam step on one thread; prints elements and 10^9 elements/s, in cache and in DRAM."""

import statistics
import time

import torch


def speed(elements: int) -> float:
    """Elements per nanosecond of one step of torch.optim.Adam with its defaults, the median of many."""
    w = torch.zeros(elements, requires_grad=True)
    w.grad = torch.randn(elements)
    adam = torch.optim.Adam([w])
    adam.step()
    times = []
    end = time.perf_counter() + 3
    while len(times) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        adam.step()
        times.append(time.perf_counter() - started)
    return elements / statistics.median(times) / 1e9


def main() -> None:
    torch.set_num_threads(1)
    for elements in (16 << 10, 64 << 20):
        print(elements, round(speed(elements), 4))


if __name__ == "__main__":
    main()
