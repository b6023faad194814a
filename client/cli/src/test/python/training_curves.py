"""Draws docs/consistency-curves.svg and docs/compression-curves.svg from docs/training-curves.json.

    ./tensorhold compare --json docs/training-curves.json
    python client/cli/src/test/python/training_curves.py docs        # needs matplotlib
"""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "tensorhold"
import matplotlib.pyplot as plt  # noqa: E402

LABELS = {
    "bsp": "BSP",
    "ssp": "SSP, s = 4",
    "asp": "ASP",
    "asp_aware": "ASP, staleness-aware rate",
    "topk": "top-k",
    "sign1": "sign",
}
CONSISTENCY = ["bsp", "ssp", "asp", "asp_aware"]


def draw(path: pathlib.Path, report: dict, names: list[str], bytes_too: bool) -> None:
    """One picture: each run's loss above the optimum by the steps of a worker."""
    runs = {run["name"]: run for run in report["runs"]}
    base = runs["bsp"]["pushed_bytes"] + runs["bsp"]["pulled_bytes"]
    figure, panel = plt.subplots(figsize=(8, 4.8))
    for name in names:
        run = runs[name]
        label = LABELS.get(name, name)
        if bytes_too:
            label += f" ({(run['pushed_bytes'] + run['pulled_bytes']) / base:.3f} of the bytes)"
        steps = [point[0] for point in run["curve"]] + [report["steps"]]
        losses = [point[1] for point in run["curve"]] + [run["loss"]]
        panel.plot(steps, [loss / report["optimum"] - 1 for loss in losses], label=label, linewidth=1.3)
    panel.set_yscale("log")
    panel.set_xlabel("step of each worker")
    panel.set_ylabel("loss above the PCA optimum, as a share of it")
    panel.legend(fontsize=8)
    panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    report = json.loads((folder / "training-curves.json").read_text())
    compressed = [run["name"] for run in report["runs"] if run["name"] not in CONSISTENCY[1:]]
    draw(folder / "consistency-curves.svg", report, CONSISTENCY, bytes_too=False)
    draw(folder / "compression-curves.svg", report, compressed, bytes_too=True)


if __name__ == "__main__":
    main()
