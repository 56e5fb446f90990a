"""Small real networks that the suite shares.

pytest puts this file's folder on ``sys.path``: ``import support`` works in every folder below.
"""

import pytest
import torch

from dfkd.networks import vgg
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

pytest.register_assert_rewrite("support")


@pytest.fixture
def tiny_teacher():
    """A VGG for 8 x 8 grey images, its statistics from a few batches of noise."""
    torch.manual_seed(0)
    network = vgg((8, 16), 1, 1, 4)
    for _ in range(20):
        network(torch.rand(32, 1, 8, 8))
    return Teacher(network, ImageSpec(1, 8, 8, (0.4,), (0.3,)), ("a", "b", "c", "d"))


@pytest.fixture
def tiny_student():
    torch.manual_seed(1)
    return vgg((8,), 1, 1, 4)
