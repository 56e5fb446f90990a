"""The moving average: its closed form, what it shares with the network, and what it cannot copy."""

import threading

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from dfkd.training.averaging import MovingAverage


def test_the_decay_grows_with_the_steps_up_to_its_bound():
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = MovingAverage(network, 0.3)
    nn.init.ones_(network.weight)
    gap = 1.0
    for steps in range(1, 8):
        average.update_parameters(network)
        gap *= min(0.3, (1 + steps) / (10 + steps))
        assert 1 - average.module.weight.item() == pytest.approx(gap, abs=1e-6)
    assert gap < 0.3**4  # the bound was reached, and not from the first step on
    assert gap != pytest.approx(0.3**7)
    assert isinstance(average, AveragedModel)
    assert not average.module.weight.requires_grad


def test_running_statistics_are_averaged_and_counters_stay():
    network = nn.BatchNorm1d(2)
    average = MovingAverage(network, 0.9)
    with torch.no_grad():
        network.running_mean += 1
        network.num_batches_tracked += 5
    average.update_parameters(network)
    torch.testing.assert_close(average.module.running_mean, torch.full((2,), 9 / 11))
    assert average.module.num_batches_tracked == 0


def test_tied_weights_move_once_a_step():
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    network[1].weight = network[0].weight
    nn.init.zeros_(network[0].weight)
    average = MovingAverage(network, 0.9)
    nn.init.ones_(network[0].weight)
    average.update_parameters(network)
    assert average.module[0].weight is average.module[1].weight
    torch.testing.assert_close(average.module[0].weight.detach(), torch.full((2, 2), 9 / 11))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of the old weight_norm
def test_networks_that_deepcopy_refuses_and_caches_that_grow():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()
            self.layer = nn.utils.weight_norm(nn.Linear(3, 2))
            self.register_buffer("cache", torch.zeros(1), persistent=False)

        def forward(self, x):
            self.cache = torch.zeros(len(x))
            return self.layer(x)

    network = Odd()
    average = MovingAverage(network, 0.5)
    network(torch.ones(4, 3))
    with torch.no_grad():
        network.layer.weight_v += 1
    start = average.module.layer.weight_v.clone()
    average.update_parameters(network)
    torch.testing.assert_close(average.module.layer.weight_v, start + 9 / 11)
    assert average(torch.ones(4, 3)).shape == (4, 2)
