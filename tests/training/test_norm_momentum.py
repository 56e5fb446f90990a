"""Batch-norms of a young student keep up with its weights."""

import pytest
import torch
from torch import nn

from dfkd.distillation.learner_config import LearnerConfig
from dfkd.networks import resnet
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from dfkd.training.norm_momentum import NormMomentum


def test_the_first_step_counts_for_most_and_late_ones_as_the_layer_wants():
    slow, fast, always = (nn.BatchNorm2d(2, momentum=m) for m in (0.01, 0.1, None))
    norms = NormMomentum([slow, fast, always, nn.Identity()])
    for step, wanted in (
        (0, (0.9, 0.9)),
        (80, (0.1, 0.1)),
        (890, (0.01, 0.1)),
        (9000, (0.01, 0.1)),
    ):
        norms.set_step(step)
        assert (slow.momentum, fast.momentum) == pytest.approx(wanted)
        assert always.momentum is None
    norms.restore()
    assert (slow.momentum, fast.momentum) == (0.01, 0.1)


@pytest.mark.parametrize("ema", [0.0, 0.99])
def test_a_slow_norm_knows_its_images_after_some_steps_and_has_its_momentum_back(ema):
    torch.manual_seed(0)
    teacher = Teacher(resnet(8, 1, 4), ImageSpec(1, 8, 8))
    student = resnet(8, 1, 4)
    norms = [m for m in student.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.001
    config = LearnerConfig(lr=1e-9, flip=0.0, careful=False, ema=ema)
    distiller = build_distiller(teacher, student, config, 0)
    images = torch.rand(64, 1, 8, 8)
    for _ in range(60):
        distiller.update(Batch(images))
    finished = distiller.finished()
    mine = [m for m in finished.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.momentum for m in (*norms, *mine)} == {0.001}
    seen = teacher.spec.normalize(images)
    with torch.no_grad():
        torch.testing.assert_close(finished(seen), finished.train()(seen), atol=0.05, rtol=0.1)
