"""What a teacher's batch-norms say of the values below zero that they hand on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.losses.overhaul import gaussian_margin
from dfkd.networks.layers import named_layers
from dfkd.teacher.statistics import statistics_layers


def norm_margins(network: nn.Module, names: Sequence[str]) -> tuple[Tensor | None, ...]:
    """Return for each layer the margins of the last batch-norm within it, or None without one.

    A block that adds its input behind its norm has that norm's as well: the authors' choice.

    Args:
        network: the teacher's.
        names: of layers; ``NAME.input`` has none.
    """
    layers = named_layers(network)
    return tuple(_margin(layers.get(name)) for name in names)


@torch.no_grad()
def _margin(layer: nn.Module | None) -> Tensor | None:
    norms: list[Any] = [] if layer is None else list(statistics_layers(layer).values())
    if not norms:
        return None
    mean, deviation = _handed_on(norms[-1])
    return gaussian_margin(mean.float(), deviation.float())


def _handed_on(norm: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of what a norm gives on the data it remembers, each (C,)."""
    if (scale := getattr(norm, "scale", None)) is not None:  # folded: y = scale * z + shift
        return scale * norm.running_mean + norm.shift, scale.abs() * norm.running_var.sqrt()
    mean = torch.zeros_like(norm.running_mean) if norm.bias is None else norm.bias
    scale = torch.ones_like(mean) if norm.weight is None else norm.weight
    return mean, scale.abs()
