"""The prior of a network with batch-norms: the statistics that those keep."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from dfkd.losses.statistics import LayerStatistics, norm_distance, scale_free_distance
from dfkd.teacher.priors.prior import Recording
from dfkd.teacher.statistics import Tap, open_taps, statistics_layers


class TapRecording:
    """The statistics of all layers, in their order; those of layers that are overwritten repeat."""

    def __init__(self, taps: Sequence[Tap], copied: set[str]) -> None:
        self._taps, self._copied = taps, copied

    def finished(self) -> tuple[LayerStatistics, ...] | None:
        """Return the records, unless an in-place operation changed what backward reads.

        Such layers keep a copy from then on, and the pass is repeated once.
        """
        overwritten = {tap.name for tap in self._taps if tap.overwritten}
        if overwritten:
            self._copied |= overwritten
            return None
        return tuple(record for tap in self._taps for record in tap.records)


class BatchNormPrior:
    """Running means and variances: what batch-norms keep of the inputs they saw.

    Args:
        network: whose layers with ``running_mean`` and ``running_var`` are read.
    """

    name = "batch_norm"

    def __init__(self, network: nn.Module) -> None:
        self.layers: Mapping[str, nn.Module] = statistics_layers(network)
        self._copied: set[str] = set()

    def on(self, network: nn.Module) -> "BatchNormPrior":
        """Return the prior of a network that has the same norms, folded or not."""
        return BatchNormPrior(network)

    @contextmanager
    def open(self) -> Iterator[Recording]:
        """Record each layer's input statistics while the block runs."""
        with open_taps(dict(self.layers), self._copied) as taps:
            yield TapRecording(taps, self._copied)

    def distance(self, record: Sequence[LayerStatistics]) -> Tensor:
        """Return the norms of the differences, summed over layers (DeepInversion, eq. 4)."""
        return norm_distance(record)

    def relative_distance(self, record: Sequence[LayerStatistics]) -> Tensor:
        """Return the Gaussian divergence in nats a channel."""
        return scale_free_distance(record)
