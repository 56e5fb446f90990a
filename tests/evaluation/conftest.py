"""A bundled teacher with its held-out images, made quickly."""

import pytest

from dfkd.evaluation.holding_out import Effort, hold_out
from dfkd.loading import load_teacher


@pytest.fixture(scope="module")
def teacher():
    return load_teacher("bundled:digits_vgg")


@pytest.fixture(scope="module")
def held_out(teacher):
    return hold_out(teacher, Effort(128, 32, 3, 9))
