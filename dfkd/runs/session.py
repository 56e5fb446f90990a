"""What goes on beside a run's steps: its directory, log and checkpoints, and who watches it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn
from typing_extensions import Self

from dfkd.report.log import MetricsLog
from dfkd.runs import run_directory
from dfkd.runs.callbacks import Callback
from dfkd.runs.options import Output
from dfkd.training import checkpoint
from dfkd.training.background import Background


class Session:
    """The files and callbacks of one run; a context manager around its steps.

    Files are written by a thread of its own, in order; the block's end waits for it.

    Args:
        output: the directory is checked here, and made by ``start``.
        reads: files and directories that the run reads, which it must not replace.
        callbacks: told in this order.

    Attributes:
        directory: the run's, or None.
        saved: the checkpoint that the run goes on from; empty for one that begins.
        leads: whether this is the first process: no other writes or calls anything.
        rows: the log of this session: ``step``, ``seconds`` and the metrics.

    Raises:
        DfkdError: a directory that the run must not write to, or no checkpoint to go on from.
    """

    def __init__(
        self, output: Output, reads: Iterable[Path], callbacks: Sequence[Callback] = ()
    ) -> None:
        self.output, self.leads = output, True
        self._callbacks, self._everywhere = tuple(callbacks), list[Callback]()
        self.directory = output.path
        self.saved: dict[str, Any] = {}
        if self.directory:
            run_directory.prepare(self.directory, output.overwrite, output.resume, reads=reads)
        if self.directory and output.resume:
            self.saved = checkpoint.load(self.directory / "checkpoint")
        self.rows: list[dict[str, float]] = []
        self._passed: float = self.saved.get("passed", 0.0)
        self._log: MetricsLog | None = None

    @property
    def writes(self) -> Path | None:
        """The directory in the process that writes to it; None in all others."""
        return self.directory if self.leads else None

    @property
    def marks(self) -> list[float]:
        """Shares of the budget that are yet to come and at which a callback wants to be called."""
        own = {mark for callback in self._everywhere for mark in callback.marks}
        others = {mark for callback in self._callbacks for mark in callback.marks}
        return sorted(own | {mark for mark in others if mark > self._passed})

    def watch(self, callback: Callback) -> None:
        """Call the marks of a callback of ours, in every process."""
        self._everywhere.append(callback)

    def __enter__(self) -> Self:
        self._background = Background(self.directory)
        self._background.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._background.__exit__(kind, error, trace)
        finally:
            if self._log:
                with suppress(OSError):  # of a disk that is full has been told
                    self._log.close()

    def open(self, step: int) -> None:
        """Make the directory and open its log; a run that goes on does so after ``step``."""
        if self.writes:
            output = self.output
            run_directory.create(self.writes, output.resume, output.overwrite)
            self._log = MetricsLog(self.writes, step if output.resume else None)

    def start(self, facts: Mapping[str, Any]) -> None:
        """Tell what was decided."""
        for callback in self._listening:
            callback.on_start(facts)

    def log(
        self,
        progress: float,
        step: int,
        seconds: float,
        metrics: Mapping[str, float],
        class_counts: Sequence[int] = (),
    ) -> None:
        """Write a row and show it."""
        self.rows.append({"step": step, "seconds": seconds, **metrics})
        if self._log:
            self._background.submit(self._log.write, step, seconds, metrics)
        for callback in self._listening:
            callback.on_log(progress, step, metrics, class_counts)

    def checkpoint(self, step: int, state: dict[str, Any], known: Collection[str] = ()) -> None:
        """Write ``state``, which must be a copy; see ``dfkd.training.checkpoint.save``."""
        if not self.writes:
            return
        directory = self.writes / "checkpoint"
        state |= {"passed": self._passed}
        self._background.submit(checkpoint.save, directory, state, known)
        for callback in self._listening:
            callback.on_checkpoint(step, directory / checkpoint.NAME)

    def mark(self, progress: float, step: int, seconds: float, student: nn.Module) -> None:
        """Call those who wait for the mark ``progress``."""
        self._passed = progress
        for callback in (*self._everywhere, *self._listening):
            if progress in callback.marks:
                callback.on_mark(progress, step, seconds, student)

    @property
    def _listening(self) -> tuple[Callback, ...]:
        return self._callbacks if self.leads else ()
