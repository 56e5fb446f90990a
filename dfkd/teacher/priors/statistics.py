"""Priors that remember means and variances of what enters the teacher's layers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from dfkd.losses.statistics import LayerStatistics, norm_distance, scale_free_distance
from dfkd.teacher.priors.prior import Recording
from dfkd.teacher.statistics import Moments, Tap, open_taps


class StatisticsPrior(ABC):
    """Means and variances by layer; whose they are is said by ``beside``.

    Folded, compiled and recomputed teachers (``dfkd.teacher.tapped``) know how to record for it.

    Args:
        layers: whose inputs are compared, by name.
        axes: where the channels of those are, -1 or 1; 1 for those left out.
    """

    name = "statistics"

    def __init__(
        self, layers: Mapping[str, nn.Module], axes: Mapping[str, int] | None = None
    ) -> None:
        self.layers: Mapping[str, nn.Module] = layers
        self.axes: Mapping[str, int] = axes or {}
        self._copied: set[str] = set()

    @abstractmethod
    def beside(self, found: Moments) -> LayerStatistics:
        """Put what is remembered of a layer's input beside what a batch has."""

    @contextmanager
    def open(self) -> Iterator[Recording]:
        """Record each layer's input statistics while the block runs."""
        with open_taps(self.layers, self._copied, self.axes) as taps:
            yield TapRecording(self, taps, self._copied)

    def distance(self, record: Sequence[LayerStatistics]) -> Tensor:
        """Return the norms of the differences, summed over layers (DeepInversion, eq. 4)."""
        return norm_distance(record)

    def relative_distance(self, record: Sequence[LayerStatistics]) -> Tensor:
        """Return the Gaussian divergence in nats a channel."""
        return scale_free_distance(record)


class TapRecording:
    """The statistics of all layers, in their order; those of layers that are overwritten repeat."""

    def __init__(self, prior: StatisticsPrior, taps: Sequence[Tap], copied: set[str]) -> None:
        self._prior, self._taps, self._copied = prior, taps, copied

    def finished(self) -> tuple[LayerStatistics, ...] | None:
        """Return the records, unless an in-place operation changed what backward reads.

        Such layers keep a copy from then on, and the pass is repeated once.
        """
        overwritten = {tap.name for tap in self._taps if tap.overwritten}
        if overwritten:
            self._copied |= overwritten
            return None
        return tuple(self._prior.beside(found) for tap in self._taps for found in tap.records)
