"""Draws docs/loss-curves.svg from docs/loss-curves.csv, which TrainingCodecsTest writes.

    ./build mvn -pl client/cli -am test -Dtest=TrainingCodecsTest -Dsurefire.failIfNoSpecifiedTests=false \\
        -Dtensorhold.loss-curves=$PWD/docs/loss-curves.csv
    python client/cli/src/test/python/loss_curves.py docs        # needs matplotlib
"""

import csv
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "tensorhold"
import matplotlib.pyplot as plt  # noqa: E402


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    with (folder / "loss-curves.csv").open() as lines:
        optimum = float(next(lines).split()[-1])
        rows = list(csv.reader(lines))
    names, numbers = rows[0][1:], [[float(x) for x in row] for row in rows[1:]]
    steps = [row[0] for row in numbers]
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.8), sharey=True)
    for column, name in enumerate(names, 1):
        of_state = "state" in name
        excess = [row[column] / optimum - 1 for row in numbers]
        line = {"linestyle": "--" if "stochastic" in name else "-", "linewidth": 1.3}
        panels[1 if of_state else 0].plot(steps, excess, label=name, **line)
        if name == "f32 weights":
            panels[1].plot(steps, excess, label="f32 state", color="black", linewidth=1.3)
    for panel, title in zip(panels, ("codec of the weights, f32 state", "codec of Adam's state"), strict=True):
        panel.set_title(title, fontsize=10)
        panel.set_yscale("log")
        panel.set_ylim(1e-3, 10)
        panel.set_xlabel("step")
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("loss above the optimum, as a share of it")
    figure.tight_layout()
    figure.savefig(folder / "loss-curves.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
