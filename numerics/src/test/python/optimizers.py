"""What PyTorch, or a paper's formulas in PyTorch's operations, make of optimizer steps: the tests compare.

Run where PyTorch and NumPy are installed (the golden files were written with torch 2.13.0, numpy 2.4.6):
    python optimizers.py golden ../resources/io/tensorhold/numerics
writes optimizers.txt, a case a line, and optimizers.bin, for each case twice, first by default and then with rounded
roots: w after step 1, after step 200, and the slots.
    python optimizers.py live SEED < optimizers.txt
reads the cases and writes the same bytes for other gradients.

By default, on a CPU, PyTorch takes the single-tensor path, neither foreach nor fused. Its square root is Intel MKL's
(in the wheels for x86, for tensors of any size, on any path but the fused), which is off by a unit in the last place
for one in six values; all else is rounded as IEEE 754 says. Rounded roots are those of fused=True, with nothing else
changed, and where PyTorch has no fused optimizer NumPy's, put in the place of MKL's.

Gradients come from a hash, so that the tests make the same without a file.
"""

import pathlib
import sys
from collections.abc import Callable

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

STEPS = 200
ELEMENTS = 1024
F = np.float32

CASES = """
sgd
sgd lr=0.1 weight_decay=0.01
sgd lr=0.03 momentum=0.97
sgd lr=0.01 momentum=0.9 dampening=0.3 weight_decay=0.02
sgd lr=0.01 momentum=0.8 nesterov=1 weight_decay=0.02
adam
adam lr=0.01 beta1=0.8 beta2=0.95 eps=1e-6 weight_decay=0.1
adam lr=0.01 beta1=0.4 beta2=0.5
adam lr=0.01 beta1=0
adam lr=0.02 beta2=0.9 amsgrad=1
adamw
adamw lr=0.02 beta1=0.85 beta2=0.98 eps=1e-7 weight_decay=0.3
adamw lr=0.01 amsgrad=1 weight_decay=0.2
adagrad
adagrad lr=0.3 lr_decay=0.05 initial_accumulator=0.7 eps=1e-5 weight_decay=0.03
rmsprop
rmsprop lr=0.003 alpha=0.8 eps=1e-6 weight_decay=0.1
rmsprop lr=0.002 alpha=0.95 momentum=0.9
rmsprop lr=0.002 alpha=0.9 momentum=0.7 centered=1 eps=1e-3 weight_decay=0.01
adadelta
adadelta lr=0.5 rho=0.7 eps=1e-4 weight_decay=0.05
ftrl
ftrl alpha=0.5 beta=0.3 l1=0.2 l2=0.05
lion
lion lr=0.003 beta1=0.8 beta2=0.95 weight_decay=0.3
lamb
lamb lr=0.02 beta1=0.8 beta2=0.95 eps=1e-4 weight_decay=0.1
adagrad_row
adagrad_row lr=0.1 row=16 initial_accumulator=0.1 eps=1e-6
"""


def hashed(seed: int, step: int) -> np.ndarray:
    """Integers of 32 bits, one an element (a 32-bit finalizer over place, step and seed)."""
    x = np.arange(ELEMENTS, dtype=np.uint32) * np.uint32(0x9E3779B9)
    x += np.uint32((step * 0x85EBCA6B + seed * 0xC2B2AE35) % 2**32)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x735A2D97)
    return x ^ (x >> np.uint32(15))


def values(seed: int, step: int) -> np.ndarray:
    """f32 in [-1, 1), exact: step 0 gives weights; gradients have magnitudes 2**-12 to 2**3 beside."""
    x = hashed(seed, step)
    unit = (x >> np.uint32(8)).astype(F) * F(2.0**-23) - F(1)
    if step > 0:
        unit *= np.exp2((hashed(seed, 0) >> np.uint32(4)) % np.uint32(16)).astype(F) * F(2.0**-12)
    return unit


class RoundedRoots(TorchFunctionMode):
    """Square roots of tensors are NumPy's, which are the processor's, which are rounded as IEEE 754 says."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.sqrt, torch.Tensor.sqrt_):
            root = torch.from_numpy(np.sqrt(args[0].detach().numpy()))
            return root if func is torch.Tensor.sqrt else args[0].copy_(root)
        return func(*args, **(kwargs or {}))


Run = Callable[[dict[str, float], np.ndarray, Callable[[int], np.ndarray]], list[np.ndarray]]


def pytorch(kind: str, fused: bool = False) -> Run:
    def run(hyper, start, gradient):
        kw = dict(hyper)
        for flag in ("nesterov", "amsgrad", "centered"):
            if flag in kw:
                kw[flag] = bool(kw[flag])
        if "initial_accumulator" in kw:
            kw["initial_accumulator_value"] = kw.pop("initial_accumulator")
        if "beta1" in kw or "beta2" in kw:
            kw["betas"] = (kw.pop("beta1", 0.9), kw.pop("beta2", 0.999))
        name = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}.get(kind, kind.capitalize())
        w = torch.tensor(start, requires_grad=True)
        optimizer = getattr(torch.optim, name)([w], **kw, **({"fused": True} if fused else {}))
        out = []
        for step in range(1, STEPS + 1):
            w.grad = torch.tensor(gradient(step))
            optimizer.step()
            if step in (1, STEPS):
                out.append(w.detach().numpy().copy())
        names = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "sum", "square_avg", "grad_avg", "acc_delta"]
        for slot in [*names, "momentum_buffer"]:
            value = optimizer.state[w].get(slot)
            if value is not None:
                out.append(value.numpy().copy())
        return out

    return run


def papers(kind: str) -> Run:
    def run(hyper, start, gradient):
        w, out = torch.tensor(start), []
        slots = [torch.zeros(ELEMENTS), torch.zeros(ELEMENTS)]
        for step in range(1, STEPS + 1):
            w, slots = STEP[kind](hyper, step, w, torch.tensor(gradient(step)), slots)
            assert w.dtype == torch.float32 and all(s.dtype == torch.float32 for s in slots)
            if step in (1, STEPS):
                out.append(w.numpy().copy())
        return out + [slot.numpy() for slot in slots]

    return run


def ftrl(h, step, w, g, slots):
    """McMahan et al. 2013, algorithm 1."""
    z, n = slots
    alpha, beta, l1, l2 = (h.get(k, d) for k, d in (("alpha", 0.1), ("beta", 1), ("l1", 0), ("l2", 0)))
    after = n.addcmul(g, g)
    z = (z + g).addcmul((after.sqrt() - n.sqrt()) * (1 / alpha), w, value=-1)
    divisor = torch.full_like(w, beta / alpha + l2).add(after.sqrt(), alpha=1 / alpha)
    w = torch.where(z.abs() <= F(l1), 0, (z.sign() * l1 - z) / divisor)
    return w, [z, after]


def lion(h, step, w, g, slots):
    """Chen et al. 2023, algorithm 2."""
    lr, b1, b2, decay = (h.get(k, d) for k, d in (("lr", 1e-4), ("beta1", 0.9), ("beta2", 0.99), ("weight_decay", 0)))
    m = slots[0]
    w = (w * (1 - lr * decay)).add((m * b1).add(g, alpha=1 - b1).sign(), alpha=-lr)
    return w, [(m * b2).add(g, alpha=1 - b2)]


def lamb(h, step, w, g, slots):
    """You et al. 2020, algorithm 2; the tests make the step with the trust ratio 1/2."""
    lr, b1, b2 = h.get("lr", 1e-3), h.get("beta1", 0.9), h.get("beta2", 0.999)
    m = slots[0].lerp(g, 1 - b1)
    v = (slots[1] * b2).addcmul(g, g, value=1 - b2)
    divisor = torch.full_like(w, h.get("eps", 1e-6)).add(v.sqrt(), alpha=(1 - b2**step) ** -0.5)
    u = (m * (1 / (1 - b1**step)) / divisor).add(w, alpha=h.get("weight_decay", 0.01))
    return w.add(u, alpha=-lr * 0.5), [m, v]


def adagrad_row(h, step, w, g, slots):
    """One accumulator a row, of the mean of squares."""
    row = int(h.get("row", 64))
    a = torch.full((ELEMENTS // row,), h.get("initial_accumulator", 0.0)) if step == 1 else slots[0]
    a = a + g.double().reshape(-1, row).square().mean(dim=1).float()
    divisor = (a.sqrt() + h.get("eps", 1e-10)).repeat_interleave(row)
    return w.addcdiv(g, divisor, value=-h.get("lr", 1e-2)), [a]


FUSED = ("sgd", "adam", "adamw", "adagrad")
STEP = {"ftrl": ftrl, "lion": lion, "lamb": lamb, "adagrad_row": adagrad_row}


def run(line: str, seed: int) -> bytes:
    kind, *pairs = line.split()
    hyper = {k: float(v) for k, v in (pair.split("=") for pair in pairs)}
    given = hyper, values(seed, 0), lambda step: values(seed, step)
    runner = papers(kind) if kind in STEP else pytorch(kind)
    arrays = runner(*given)
    if kind in FUSED:
        arrays += pytorch(kind, fused=True)(*given)
    else:
        with RoundedRoots():
            arrays += runner(*given)
    return b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in arrays)


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1] == "golden":
        folder = pathlib.Path(sys.argv[2])
        cases = CASES.split("\n")[1:-1]
        (folder / "optimizers.txt").write_text("\n".join(cases) + "\n")
        (folder / "optimizers.bin").write_bytes(b"".join(run(case, 1) for case in cases))
    else:
        for case in sys.stdin.read().splitlines():
            sys.stdout.buffer.write(run(case, int(sys.argv[2])))


if __name__ == "__main__":
    main()
