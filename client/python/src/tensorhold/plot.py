"""Pictures for notebooks, with Matplotlib, which is asked for only here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorhold._step import StepRecord
    from tensorhold.model import Model


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError("pictures need Matplotlib: pip install matplotlib") from None
    return plt.subplots(figsize=(8, 4))[1]


def storage(model: Model, ax: Any = None) -> Any:
    """Bytes of a model's largest parameters, stored and as f32."""
    ax = _axes(ax)
    largest = sorted(model.values(), key=lambda one: one.nbytes)[-20:]
    names = [one.name for one in largest]
    ax.barh(names, [4 * one.elements / 2**20 for one in largest], color="0.85", label="as f32")
    ax.barh(names, [one.nbytes / 2**20 for one in largest], label="stored")
    ax.set_xlabel("MiB")
    ax.set_title(f"{model.name}: {model.nbytes / 2**20:.1f} MiB stored")
    ax.legend()
    return ax


def progress(records: Sequence[StepRecord], ax: Any = None) -> Any:
    """Seconds and pushed bytes of a worker's steps."""
    ax = _axes(ax)
    steps = [one.step for one in records]
    ax.plot(steps, [1000 * one.seconds for one in records], label="step, ms")
    ax.set_xlabel("step")
    ax.set_ylabel("ms")
    other = ax.twinx()
    other.plot(
        steps, [one.pushed_bytes / 2**20 for one in records], color="C1", label="pushed, MiB"
    )
    other.set_ylabel("MiB pushed")
    ax.legend(loc="upper left")
    other.legend(loc="upper right")
    return ax
