"""Small steps that several methods share, as plain functions."""

import math

import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.losses.objective import Term
from dfkd.losses.registry import LOSSES
from dfkd.losses.statistics import layer_statistics, norm_distance
from dfkd.teacher.outputs import PairOutputs

Average = dict[str, tuple[Tensor, Tensor]]
"""By a layer's name, running mean and variance of *generated* images, each of shape (C,)."""


def keep_best(best: dict[str, Tensor], made: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keep the batch whose ``"loss"`` is lower, tensor by tensor.

    Chosen tensor by tensor on their device, so that no value is read back, and copied: the best
    does not move on with what is being optimised.

    Args:
        best: of all before; empty at first.
        made: of now.
    """
    better = made["loss"] < best.get("loss", math.inf)
    return {k: torch.where(better, v, best.get(k, v)).detach() for k, v in made.items()}


def smooth(outputs: PairOutputs, average: Average, momentum: float) -> PairOutputs:
    """Mix a batch's statistics with those of earlier batches, layer by layer (FastDFKD).

    Args:
        outputs: whose statistics become (1 - momentum) * batch + momentum * average; those of a
            layer without average stay.
        average: of earlier rounds.
        momentum: in [0, 1).
    """
    layers = layer_statistics(outputs.teacher.statistics)
    if not layers:  # another prior's record has no means and variances to mix
        return outputs
    averages = [average.get(layer.name, (layer.mean, layer.var)) for layer in layers]
    mixed = tuple(
        layer._replace(mean=layer.mean.lerp(mean, momentum), var=layer.var.lerp(var, momentum))
        for layer, (mean, var) in zip(layers, averages, strict=True)
    )
    return outputs._replace(teacher=outputs.teacher._replace(statistics=mixed))


def detached_average(outputs: PairOutputs) -> Average:
    """Return what ``smooth`` gave as the average of the next round."""
    layers = layer_statistics(outputs.teacher.statistics)
    return {layer.name: (layer.mean.detach(), layer.var.detach()) for layer in layers}


def straight_through(
    outputs: PairOutputs, average: Average, momentum: float
) -> tuple[PairOutputs, Average]:
    """Give statistics the values of their running average, and the gradient of the batch (EDC).

    A small batch then has the statistics of many. With s the batch's mean or variance and a the
    average so far, the value is a' = momentum * a + (1 - momentum) * s, and the gradient that of s
    (Shao et al., "Elucidating the Design Space of Dataset Condensation", NeurIPS 2024).

    Args:
        outputs: whose statistics are replaced.
        average: of earlier steps; a layer that it does not have begins with the batch's own.
        momentum: of the earlier steps, in [0, 1).

    Returns:
        The outputs, and the average that goes on.
    """
    layers = layer_statistics(outputs.teacher.statistics)
    ongoing: Average = {}
    if not layers:
        return outputs, ongoing
    replaced = []
    for layer in layers:
        own = layer.mean.detach(), layer.var.detach()
        before = average.get(layer.name, own)
        mean, var = (new.lerp(old, momentum) for new, old in zip(own, before, strict=True))
        ongoing[layer.name] = mean, var
        # The batch's own cancels in the value, and alone has a gradient.
        replaced.append(
            layer._replace(mean=mean + layer.mean - own[0], var=var + layer.var - own[1])
        )
    traced = outputs.teacher._replace(statistics=tuple(replaced))
    return outputs._replace(teacher=traced), ongoing


def statistics_term(weight: float, first_layer_weight: float = 1.0) -> Term:
    """Weigh the distance from the stored statistics, with a factor of the first layer's own.

    Args:
        weight: of the whole term.
        first_layer_weight: of the first layer within it (DeepInversion's multiplier).
    """
    if first_layer_weight == 1.0:
        return Term("bn", LOSSES["bn"], weight, LOSSES["bn"].needs)

    def distance(outputs: PairOutputs) -> Tensor:
        layers = layer_statistics(outputs.teacher.statistics)
        if not layers and outputs.teacher.statistics != ():
            raise DfkdError("first_bn_multiplier is for batch-norm statistics: set it to 1")
        return norm_distance(layers, first_layer_weight=first_layer_weight)

    return Term("bn", distance, weight, LOSSES["bn"].needs)


def check(condition: bool, what: str) -> None:
    """Refuse a configuration in one line.

    Args:
        condition: what must hold.
        what: the same in words.

    Raises:
        DfkdError: unless ``condition``.
    """
    if not condition:
        raise DfkdError(what)
