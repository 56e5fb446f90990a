"""The prior of a network with batch-norms: the statistics that those keep."""

from typing import Any

from torch import nn

from dfkd.losses.statistics import LayerStatistics
from dfkd.teacher.priors.statistics import StatisticsPrior
from dfkd.teacher.statistics import Moments, statistics_layers


class BatchNormPrior(StatisticsPrior):
    """Running means and variances: what batch-norms keep of the inputs they saw.

    Args:
        network: whose layers with ``running_mean`` and ``running_var`` are read.
    """

    name = "batch_norm"
    told = "what its batch-norms store"

    def __init__(self, network: nn.Module) -> None:
        super().__init__(statistics_layers(network))

    def on(self, network: nn.Module) -> "BatchNormPrior":
        """Return the prior of a network that has the same norms, folded or not."""
        return BatchNormPrior(network)

    def beside(self, found: Moments) -> LayerStatistics:
        """Put a layer's running statistics beside what a batch has."""
        layer: Any = self.layers[found.layer]
        mean, var = layer.running_mean, layer.running_var
        return LayerStatistics(found.label, found.mean, found.var, mean, var)
