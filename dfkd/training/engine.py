"""The outer loop: alternate synthesis and distillation within a budget.

It knows the two Protocols and nothing of any method. Everything that varies
with a run (logging, showing, saving) comes in as a callable.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from dfkd.errors import DfkdError
from dfkd.networks.foreign import within_memory
from dfkd.protocols import Distiller, Metrics, Synthesizer
from dfkd.training.budget import Alternation, Budget, RunProgress
from dfkd.training.checkpoint import snapshot
from dfkd.training.interruption import interruption

_LONG = 2.0
"""Seconds from which on an update of synthesis can be cut short; others are simply waited for."""


LATE = 8
"""Updates that the warm-up had no time for, to those that come in their turn."""


class CutShort(BaseException):
    """An update of synthesis ends before its time: no error, and nobody's but the engine's."""


class Engine:
    """Runs a synthesizer and a distiller to the end of a budget.

    Args:
        synthesizer: makes the batches.
        distiller: learns from them.
        budget: of the whole run.
        alternation: when the synthesizer's turn comes.
        agree: any process's wish to stop becomes everybody's.
        shared: one process's measurement of time becomes everybody's: where clocks decide, all
            must decide alike.
        report: called every ``report_every`` seconds with (progress, account, metrics).
        save: called every ``save_every`` seconds and at an interruption.
        marks: shares of the budget, ascending.
        keep: called at each of them with (mark, account); the clock stands still meanwhile.
        report_every, save_every: in seconds.
    """

    def __init__(
        self,
        synthesizer: Synthesizer,
        distiller: Distiller,
        budget: Budget,
        alternation: Alternation,
        *,
        agree: Callable[[bool], bool] = bool,
        shared: Callable[[float], float] = float,
        report: Callable[[float, RunProgress, dict[str, float]], None] = lambda *_: None,
        save: Callable[[], None] = lambda: None,
        marks: Sequence[float] = (),
        keep: Callable[[float, RunProgress], None] = lambda *_: None,
        report_every: float = 2.0,
        save_every: float = 60.0,
    ) -> None:
        self.synthesizer, self.distiller = synthesizer, distiller
        self.budget, self.alternation, self.account = budget, alternation, RunProgress()
        self._agree, self._shared, self._report, self._save = agree, shared, report, save
        self._marks, self._keep = list(marks), keep
        self._report_every, self._save_every = report_every, save_every
        self._metrics: Metrics = {}
        self._longest_update = 0.0
        self._reported = 0.0
        self._interrupted = [False]
        self._before: dict[str, Any] | None = None  # the synthesizer's state, within a long update
        self._ended = False

    def run(self) -> bool:
        """Work until the budget is spent (True) or Ctrl-C asks for an end (False).

        Metrics are read when they are reported, never within a step: what diverged is an
        error then, and nothing made of it is kept.

        Interrupted, the step is finished and the run saved; a second Ctrl-C kills.
        """
        self.account.started = time.perf_counter()
        self._reported = saved = time.perf_counter()
        with interruption() as self._interrupted:
            while (progress := self._progress()) < 1.0:
                self._keep_student(progress)
                if self._agree(self._interrupted[0]):
                    self._save()
                    return False
                if self._wants_synthesis(progress):
                    self._synthesize()
                else:
                    self._distill(progress)
                self._show_when_due(progress)
                if time.perf_counter() - saved >= self._save_every:
                    self._save()
                    saved = time.perf_counter()
            if not self._ended:
                self._keep_student(1.0)
        if self.account.steps:
            self.distiller.set_progress(1.0)
        self._show(1.0)
        return True

    def pulse(self) -> None:
        """Show progress within an update of synthesis; end it at an interruption or the budget's.

        To be called from inside ``Synthesizer.update``, before each pass of the teacher say. An
        update that is cut short has not been: the synthesizer is put back to where it began.
        One process alone may call it, for several would part.
        """
        if self._before is None:
            return
        progress = self._progress()
        self._show_when_due(progress)
        if self._interrupted[0] or progress >= 1.0:
            raise CutShort

    def end(self) -> None:
        """Let the budget be spent: ``run`` returns after this step as if it were."""
        self._ended = True

    def _progress(self) -> float:
        if self._ended:
            return 1.0
        return self._shared(self.budget.progress(self.account.seconds, self.account.steps))

    def _keep_student(self, progress: float) -> None:
        """``keep`` for every mark that is passed; a long update may pass several."""
        while self._marks and self._marks[0] <= progress:
            start = time.perf_counter()
            self._keep(self._marks.pop(0), self.account)
            self.account.started += time.perf_counter() - start

    def _wants_synthesis(self, progress: float) -> bool:
        account, alternation = self.account, self.alternation
        first = alternation.warmup_updates or 0
        if not account.steps:
            if not account.updates:
                return first > 0  # the student needs something to see
            longest = self.budget.progress(self._longest_update, 0)
            in_time = self.budget.minutes is None or progress + longest < alternation.warmup_share
            return in_time and account.updates < first
        if not alternation.steps_per_update:
            return False
        if self.budget.minutes:
            remaining = 60 * self.budget.minutes * (1 - progress)
            if self._longest_update > remaining:
                return False  # images that no student would see
        turns, done = alternation.steps_per_update, account.warmup_updates
        # What the warm-up had no time for comes with the first steps, a few at a time.
        late = min(first - done, account.steps // max(1, turns // LATE))
        due = done + late + account.steps // turns
        return account.updates < due

    def _synthesize(self) -> None:
        start = time.perf_counter()
        # The first one's length is not known; a snapshot of little is cheap.
        if not self._longest_update or self._longest_update > _LONG:
            self._before = snapshot(self.synthesizer.state_dict())
        try:
            with within_memory("synthesis"):
                made = self.synthesizer.update(self.distiller.student)
                self._log("synthesis", made)
            self.account.updates += 1
        except CutShort:
            assert self._before is not None
            self.synthesizer.load_state_dict(self._before)
        finally:
            self._before = None
        spent = time.perf_counter() - start
        self.account.synthesis_seconds += spent
        self._longest_update = max(self._longest_update, self._shared(spent))

    def _distill(self, progress: float) -> None:
        start = time.perf_counter()
        if not self.account.steps:
            self.account.warmup_updates = self.account.updates
        batch = self.synthesizer.sample(self.alternation.batch_size)
        sampled = time.perf_counter()
        self.distiller.set_progress(progress)
        self._log("distillation", self.distiller.update(batch))
        self.account.steps += 1
        self.account.synthesis_seconds += sampled - start
        self.account.distillation_seconds += time.perf_counter() - sampled

    def _show_when_due(self, progress: float) -> None:
        if time.perf_counter() - self._reported >= self._report_every:
            self._show(progress)
            self._reported = time.perf_counter()

    def _log(self, side: str, metrics: Metrics) -> None:
        self._metrics.update({f"{side}/{name}": value for name, value in metrics.items()})

    def _show(self, progress: float) -> None:
        values = {name: float(value) for name, value in self._metrics.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise DfkdError(f"{name} is {value} at step {self.account.steps}: lower its rate")
        self._report(progress, self.account, values)

    def state_dict(self) -> dict[str, Any]:
        """Return synthesizer, distiller, account and torch's global generators (for dropout)."""
        account = asdict(self.account) | {"earlier_seconds": self.account.seconds}
        return {
            "synthesizer": self.synthesizer.state_dict(),
            "distiller": self.distiller.state_dict(),
            "account": account,
            "torch_generator": torch.get_rng_state(),
            "device_generator": {
                kind: device.get_rng_state() for kind, device in self._accelerator().items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        self.synthesizer.load_state_dict(state["synthesizer"])
        self.distiller.load_state_dict(state["distiller"])
        self.account = RunProgress(**state["account"])
        torch.set_rng_state(state["torch_generator"])
        for kind, device in self._accelerator().items():
            if kind in state.get("device_generator", {}):  # or the run comes from another device
                device.set_rng_state(state["device_generator"][kind])

    def _accelerator(self) -> dict[str, Any]:
        """By its kind torch's module for the student's device; a CPU has no generator beside."""
        kind = next(self.distiller.student.parameters()).device.type
        return {} if kind == "cpu" else {kind: torch.get_device_module(kind)}
