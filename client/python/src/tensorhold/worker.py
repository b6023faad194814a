"""A worker of a model, for programs without an event loop of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from tensorhold._loop import LoopThread
from tensorhold._step import StepCore, StepRecord
from tensorhold._values import Array, new_array
from tensorhold.errors import DeadlineError, error
from tensorhold.gradients import GradientCodec, StepPlan, in_order
from tensorhold.model import Model, Parameter
from tensorhold.session import WorkerCore


class Closing:
    """What is closed at the end of a with block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class Worker(Closing):
    """A worker of a model: a rank, the session that holds it, and the step it goes on with.

    Steps are counted in the shards, with the weights: a worker that was killed joins again, and
    goes on after `last_step`. A heartbeat in the background keeps it registered.
    """

    def __init__(self, loop: LoopThread, core: WorkerCore) -> None:
        self._loop = loop
        self.core = core
        self._failed: StepCore | None = None

    def __enter__(self) -> Worker:
        return self

    @property
    def model(self) -> Model:
        """The model, as it was when this worker joined."""
        return self.core.model

    @property
    def rank(self) -> int:
        return self.core.joined.rank

    @property
    def last_step(self) -> int:
        """The last step that was made; when it has just joined, the last that all shards have."""
        return self.core.last_step

    @property
    def records(self) -> list[StepRecord]:
        """What each step of this worker took."""
        return self.core.records

    def encode_gradients(self, codec: GradientCodec | str) -> None:
        """Gradients from now on are sent so: a GradientCodec, or the name of a codec."""
        self.core.encoder.use(GradientCodec(codec) if isinstance(codec, str) else codec)

    def step(
        self,
        gradients: Mapping[str, Any],
        rows: Mapping[str, tuple[Any, Any]] | None = None,
    ) -> None:
        """One step: f32 gradients by name. Returns when the model lets this worker go on.

        Args:
            rows: keys and gradients of rows by the name of their table, as `push_rows` takes them.
                A worker that makes its step again after it was lost makes it of the same tables.

        Raises:
            StepError: the step was made without this rank, or given up.
            SessionExpiredError: join again.
            DeadlineError: names the ranks that the step waits for; `retry` sends it again.
        """
        self._step(gradients, None, rows)

    def step_and_pull(
        self, gradients: Mapping[str, Any], out: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """One step that brings the updated values back as f32 in the same round trip."""
        model = self.core.model
        targets = dict(out or {})
        for name in gradients:
            if name not in targets:
                targets[name] = new_array(model[name], model[name].shape)
        self._step(gradients, targets)
        return targets

    def _step(
        self,
        gradients: Mapping[str, Any],
        targets: Mapping[str, Array] | None,
        rows: Mapping[str, tuple[Any, Any]] | None = None,
    ) -> None:
        parameters = in_order([self.core.model[name] for name in gradients])
        step = self.begin(self.plan([parameters]), targets)
        step.with_rows(rows or {})
        self.finish(step, gradients)

    def plan(self, buckets: Sequence[Sequence[Parameter]]) -> StepPlan:
        """A step in several buckets, in the order their gradients become ready."""
        return self.core.plan(buckets)

    def begin(self, plan: StepPlan, targets: Mapping[str, Array] | None = None) -> StepCore:
        """Begins a step whose buckets are sent one by one."""
        if self._failed is not None:
            raise error(
                "REQUEST_INVALID",
                f"step {self._failed.number} has failed and is not made: retry it first",
            )
        return self.core.begin(plan, targets)

    def send(self, step: StepCore, bucket: int, gradients: Mapping[str, Any]) -> None:
        """Sends a bucket of a step that has begun; returns when it is encoded."""

        async def send() -> None:
            step.send(bucket, gradients)

        self._loop.run(send())

    def finish(self, step: StepCore, gradients: Mapping[str, Any] | None = None) -> None:
        """Waits until a step is made; `gradients` are sent first, as its only bucket."""
        if gradients is not None:
            self.send(step, 0, gradients)
        try:
            self._loop.run(step.finish())
        except (DeadlineError, ConnectionError):
            self._failed = step
            raise

    @property
    def unfinished(self) -> StepCore | None:
        """The step that failed for want of an answer, and that `retry` sends again."""
        return self._failed

    def retry(self) -> None:
        """Sends the step that failed once more, the same bytes; it is still made only once."""
        step = self._failed
        if step is None:
            return

        async def again() -> None:
            step.again()
            await step.finish()

        self._loop.run(again())
        self._failed = None

    def plot_progress(self, ax: Any = None) -> Any:
        """Draws seconds and bytes of its steps; gives Matplotlib's axes."""
        from tensorhold.plot import progress

        return progress(self.records, ax)

    def abandon(self) -> None:
        """Goes without a word, as a killed process does: its session ends with its lease."""
        self._loop.run(self.core.close(leave=False))

    def close(self) -> None:
        """Leaves the model: nobody waits for its lease."""
        self._loop.run(self.core.close())

    def __repr__(self) -> str:
        pusher = self.core.session.pusher
        return (
            f"<tensorhold.Worker rank {self.rank} of {self.model.name}: step {self.last_step}, "
            f"{pusher.pushed_bytes:,} bytes pushed ({pusher.pushed_as_f32:,} as f32), "
            f"{pusher.pulled_bytes:,} pulled>"
        )
