"""The loop of an inversion: one batch of pictures after the other, logged, saved and resumed."""

import time
from collections.abc import Callable
from typing import Any

from torch import Tensor

from dfkd.networks.foreign import within_memory
from dfkd.protocols import Metrics
from dfkd.runs.inversion_order import Order, check_losses
from dfkd.runs.session import Session
from dfkd.synthesis.evolution import Evolution
from dfkd.synthesis.methods.deep_inversion import DeepInversion
from dfkd.training import checkpoint

LOG_EVERY = 2.0
"""Seconds between two rows of the log."""


class InversionLoop:
    """Spends the budget of an inversion on its batches.

    Args:
        synthesizer: makes a batch, step by step.
        order: says how long.
        batches: how many.
        session: of the run: log and checkpoints.
        evolution: sees how the first batch comes to be.
        clock: gives the run's seconds, those of interrupted sessions included.
        stopping: its one entry turns true where an end is asked for.
        settled: what a checkpoint holds beside the state.

    Attributes:
        made: images, the teacher's logits and targets of each finished batch.
        steps: taken so far, in all sessions.
        complete: whether nothing was cut short.
    """

    def __init__(
        self,
        synthesizer: DeepInversion,
        order: Order,
        batches: int,
        session: Session,
        evolution: Evolution,
        clock: Callable[[], float],
        stopping: list[bool],
        settled: dict[str, Any],
    ) -> None:
        self.synthesizer, self._order, self._batches = synthesizer, order, batches
        self._session, self._evolution, self._clock = session, evolution, clock
        self._stopping, self._settled = stopping, settled
        self.steps, self._share, self._metrics = 0, 0.0, Metrics()
        self.made: list[tuple[Tensor, Tensor, Tensor]] = []
        self._unscheduled = clock()  # of ``minutes`` the schedules span the rest

    def run(self) -> None:
        """Make one batch after the other, until the budget is spent or an end is asked for."""
        self._logged = self._saved = time.perf_counter()
        self.complete, self._opened = len(self.made) == self._batches, False
        stopped = False
        while len(self.made) < self._batches and not stopped:
            stopped = self._make_batch()
        if self._metrics:
            self._log()
        if self.complete:
            self._checkpoint()

    def _make_batch(self) -> bool:
        """Optimise a batch and keep it; returns whether an end was asked for meanwhile."""
        stopped = False
        while self._share < 1.0 and not stopped:
            self._step()
            stopped = self._stopping[0]
        check_losses(self._metrics, self.steps)
        if stopped:
            self._checkpoint()  # before the pictures are taken as they stand
        self.complete = self._share >= 1.0 and len(self.made) == self._batches - 1
        batch = self.synthesizer.finish()
        assert batch.prediction is not None
        assert batch.target is not None
        self._evolution.finish(batch.inputs)
        self.made.append((batch.inputs, batch.prediction.logits, batch.target))
        self._share = 0.0
        return stopped

    def _step(self) -> None:
        """One step, and what is due after it."""
        minutes, before = self._order.minutes, self._clock()
        if not self.made:
            self._evolution.watch(self.synthesizer, self._share)
        with within_memory("synthesis"):
            metrics = self.synthesizer.step()
        self._metrics = {f"synthesis/{name}": value for name, value in metrics.items()}
        self.steps += 1
        if minutes is None:
            self._share = self.synthesizer.position / self.synthesizer.config.total_iterations
        else:
            # Every batch has an equal part of the time, and the step to come must fit in.
            spent = 2 * self._clock() - before - self._unscheduled
            left = max(60 * minutes - self._unscheduled, 1e-9)
            share = spent / left * self._batches - len(self.made)
            self._share = min(1.0, max(share, self._share))
            self.synthesizer.position = self.synthesizer.config.position(self._share)
        self._progress = (len(self.made) + self._share) / self._batches
        if not self._opened:  # all that can be refused has been, and little is lost yet
            self._session.open(self.steps - 1)
            self._opened = True
        if time.perf_counter() - self._logged >= LOG_EVERY:
            self._log()
        if time.perf_counter() - self._saved >= self._session.output.checkpoint_every:
            self._checkpoint()

    def _log(self) -> None:
        values = {name: float(value) for name, value in self._metrics.items()}
        self._session.log(self._progress, self.steps, self._clock(), values)
        self._logged = time.perf_counter()

    def _checkpoint(self) -> None:
        if self._session.writes:
            self._session.checkpoint(self.steps, self.state_dict() | self._settled)
        self._saved = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact resume needs, as copies."""
        made = [
            (self.synthesizer.teacher.spec.encode(images), *others) for images, *others in self.made
        ]
        return {
            "synthesizer": self.synthesizer.state_dict(), "made": checkpoint.snapshot(made),
            "steps": self.steps, "share": self._share, "seconds": self._clock(),
            "unscheduled": self._unscheduled, "evolution": self._evolution.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        teacher = self.synthesizer.teacher
        device, spec = teacher.device, teacher.spec
        self.synthesizer.load_state_dict(state["synthesizer"])
        self.made = [
            (spec.decode(images.to(device)), logits.to(device), targets.to(device))
            for images, logits, targets in state["made"]
        ]
        self.steps, self._share = state["steps"], state["share"]
        self._unscheduled = state["unscheduled"]
        if "evolution" in state:  # version 0.1 kept none
            self._evolution.load_state_dict(state["evolution"])
