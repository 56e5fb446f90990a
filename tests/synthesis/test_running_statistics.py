"""EDC's running average: the value is that of many batches, the gradient that of this one."""

from typing import NamedTuple

import torch

from dfkd.losses.statistics import LayerStatistics
from dfkd.synthesis.steps import straight_through


class Side(NamedTuple):
    statistics: tuple[LayerStatistics, ...]


class Outputs(NamedTuple):
    teacher: Side


def test_values_are_averaged_and_gradients_are_the_batchs():
    average, momentum, expected, stored = {}, 0.75, None, torch.zeros(1)
    for value in (1.0, 3.0, -2.0):
        mean = torch.tensor([value], requires_grad=True)
        outputs = Outputs(Side((LayerStatistics("norm", mean, 2 * mean, stored, stored),)))
        found, average = straight_through(outputs, average, momentum)
        expected = value if expected is None else momentum * expected + (1 - momentum) * value
        layer = found.teacher.statistics[0]
        assert torch.allclose(layer.mean, torch.tensor([expected]))
        assert torch.allclose(layer.var, torch.tensor([2 * expected]))
        (layer.mean + layer.var).sum().backward()
        assert torch.equal(mean.grad, torch.tensor([3.0]))
        assert not average["norm"][0].requires_grad
