"""What a teacher remembers of its training inputs: a prior over what it is shown."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.statistics import LayerStatistics, norm_distance, scale_free_distance
from dfkd.teacher.statistics import Tap, open_taps, statistics_layers


class Recording(Protocol):
    """What a prior notes of one forward pass."""

    def finished(self) -> Any:
        """Return the record, or None where the pass must be repeated."""


class Prior(Protocol):
    """What a network reveals of the inputs it was trained on. No loss lives in a hook.

    Attributes:
        layers: those that remember something, by name; empty for a network that does not.
    """

    layers: Mapping[str, nn.Module]

    def open(self) -> AbstractContextManager[Recording]:
        """Record while the block runs; a record is a plain value, part of the graph."""

    def distance(self, record: Any) -> Tensor:
        """Return how far a batch lies from what is remembered, a scalar."""

    def relative_distance(self, record: Any) -> Tensor:
        """Return the same free of the network's scale: weights carry over between networks."""


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

    def __init__(self, network: nn.Module) -> None:
        self.layers: Mapping[str, nn.Module] = statistics_layers(network)
        self._copied: set[str] = set()

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


class NoPrior:
    """Nothing is remembered: only the teacher's answers can be asked for."""

    layers: Mapping[str, nn.Module] = {}

    def open(self) -> AbstractContextManager[Recording]:
        """Record nothing."""
        return nullcontext(self)

    def finished(self) -> tuple[()]:
        """Return an empty record."""
        return ()

    def distance(self, record: Any) -> Tensor:
        """Raise a ``DfkdError``: there is nothing to compare with."""
        raise DfkdError("this teacher remembers nothing of its data: use `method=drawings`")

    relative_distance = distance


def find_prior(network: nn.Module) -> Prior:
    """Find what a network remembers: its batch-norms' statistics, or nothing."""
    return BatchNormPrior(network) if statistics_layers(network) else NoPrior()
