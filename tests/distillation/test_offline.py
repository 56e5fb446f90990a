"""The student's step: it learns, from cached answers as from fresh ones, and leaves the teacher."""

import dataclasses

import pytest
import torch

from dfkd.distillation.learner import Learner
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller

CONFIG = LearnerConfig(lr=0.01, warmup=0.0, flip=0.0, ema=0.0)


@pytest.mark.parametrize("cached", [False, True])
def test_a_student_comes_nearer_to_its_teacher(cached, tiny_teacher, tiny_student):
    images = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = Batch(images, tiny_teacher.predict(images) if cached else None)
    distiller = build_distiller(tiny_teacher, tiny_student, CONFIG, seed=0)
    losses = [float(distiller.update(batch)["kd"]) for _ in range(60)]
    assert 0 <= losses[-1] < 0.5 * losses[0]
    assert distiller.teacher_images == (0 if cached else 60 * 64)
    assert sum(distiller.class_counts()) == 60 * 64


def test_the_rate_spans_the_budget(tiny_teacher, tiny_student):
    distiller = build_distiller(
        tiny_teacher, tiny_student, LearnerConfig(lr=1.0, warmup=0.1), seed=0
    )
    rates = []
    for progress in (0.0, 0.05, 0.1, 0.5, 1.0):
        distiller.set_progress(progress)
        rates.append(distiller.learners[0]._optimizer.param_groups[0]["lr"])
    assert rates[0] == 0
    assert rates[1] < rates[2]
    assert rates[3] == pytest.approx(0.5)
    assert rates[4] == pytest.approx(0)


def test_only_what_is_mirrorable_is_mirrored(tiny_teacher, tiny_student):
    """Cached answers are those of a corrected image's mirror image, and not of a drawing's."""
    config = dataclasses.replace(CONFIG, flip=1.0)
    learner = Learner(tiny_teacher, tiny_student, config, 0)
    images = torch.rand(4, 1, 8, 8)
    some = torch.tensor([True, False, True, False])
    shown = learner.prepare(Batch(images, mirrorable=some)).inputs
    assert torch.equal(shown[some], images[some].flip(-1))
    assert torch.equal(shown[~some], images[~some])
    assert torch.equal(learner.prepare(Batch(images)).inputs, images.flip(-1))
