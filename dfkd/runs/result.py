"""What ``dfkd.distill`` returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dfkd.report.log import read_metrics
from dfkd.runs.deprecated import warn
from dfkd.runs.metrics import HeldOutAgreement, RunMetrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Result:
    """A finished (or interrupted) run.

    Attributes:
        student: the network to keep, in eval mode, on the teacher's device.
        metrics: what ``result.json`` holds, as attributes.
        directory: of the run, where one was asked for.
        interrupted: stopped by Ctrl-C before the budget was spent.
        log: the metrics of this session: ``step``, ``seconds``, and scalars by name.
    """

    student: nn.Module
    metrics: RunMetrics
    directory: Path | None = None
    interrupted: bool = False
    log: Sequence[Mapping[str, float]] = field(default=(), repr=False)

    @property
    def validation(self) -> HeldOutAgreement:
        """Agreement with the teacher on held-out synthetic images, at the start and at the end."""
        return self.metrics.held_out

    @property
    def failure(self) -> str:
        """Why a run that came to its end is no success, and what to do; empty otherwise."""
        return self.metrics.failure

    def plot(self) -> "Figure":
        """Draw the losses and accuracies over time, those of earlier sessions included."""
        from dfkd.report.charts import plot_run  # matplotlib is slow to import

        return plot_run(read_metrics(self.directory) if self.directory else list(self.log))

    @property
    def figures(self) -> dict[str, Any]:
        """Deprecated: ``metrics.as_dict()``."""
        warn("result.figures", "result.metrics")
        return self.metrics.as_dict()

    @property
    def out(self) -> Path | None:
        """Deprecated: ``directory``."""
        warn("result.out", "result.directory")
        return self.directory
