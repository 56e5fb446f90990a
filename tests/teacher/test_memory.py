"""What a step takes, what fits, and recomputation: the same gradients from less memory."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import mobilenet_v2

from dfkd.errors import DfkdError
from dfkd.losses.statistics import norm_distance
from dfkd.networks.zoo import ResidualBlock, resnet
from dfkd.teacher import Teacher
from dfkd.teacher.recompute import PeakMemory, blocks, fitting_batch, pass_bytes, recomputing
from dfkd.teacher.spec import ImageSpec

SPEC = ImageSpec(3, 32, 32)


def gradient(teacher, images):
    pixels = images.clone().requires_grad_()
    trace = teacher.trace(pixels, statistics=True)
    (trace.logits.logsumexp(1).mean() + norm_distance(trace.statistics)).backward()
    return pixels.grad, [layer.name for layer in trace.statistics]


def test_peak_memory_counts_what_is_alive():
    with PeakMemory() as memory:
        first = torch.zeros(1000)
        second = first + 1
        view = second[10:]
        del first
        third = view + 1
        del second, view, third
        torch.zeros(10)
    assert memory.peak == 4 * 2000  # first and second; then second and third, which is smaller


@pytest.mark.parametrize(
    "build", [lambda: resnet(32, 3, 4), lambda: mobilenet_v2(num_classes=4, width_mult=0.35)]
)
def test_recomputing_takes_less_and_changes_nothing(build):
    torch.manual_seed(0)
    teacher = Teacher(build(), SPEC)
    thrifty = recomputing(teacher)
    images = torch.rand(4, 3, 32, 32)
    expected, names = gradient(teacher, images)
    found, found_names = gradient(thrifty, images)
    assert found_names == names
    torch.testing.assert_close(found, expected)
    assert pass_bytes(thrifty) < 0.6 * pass_bytes(teacher)


def test_blocks_of_a_residual_network_are_its_blocks():
    found = list(blocks(resnet(32, 3, 4)))
    assert len(found) == 15
    assert all(isinstance(block, ResidualBlock) for block in found)


def test_a_batch_is_halved_until_it_fits():
    teacher = Teacher(resnet(8, 3, 4), SPEC)
    each = pass_bytes(teacher)
    assert fitting_batch(teacher, 64, free=1 << 60) == 64
    assert fitting_batch(teacher, 64, free=2 * 40 * each) == 32
    assert fitting_batch(teacher, 64, free=1) == 1


class Overwriting(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(F.relu(x, inplace=True)))


def test_a_block_that_overwrites_its_input_is_refused():
    network = nn.Sequential(
        nn.Conv2d(3, 3, 1), Overwriting(), Overwriting(), Overwriting(), nn.Flatten(),
        nn.Linear(3 * 32 * 32, 4),
    )  # fmt: skip
    thrifty = recomputing(Teacher(network, SPEC))
    with pytest.raises(DfkdError, match="overwrites its input"):
        gradient(thrifty, torch.rand(2, 3, 32, 32))
