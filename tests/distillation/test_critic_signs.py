"""Who minimises what where critics learn: the generator fools, the critic names classes."""

import copy

import pytest
import torch
import torch.nn.functional as F

from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.schemes.adversarial_config import AdversarialConfig
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller
from support.schemes import make_student, make_teacher, some_batch

SMALL = {"width": 16, "latent_dim": 8, "ngf": 4, "noise": 0.0}


def build(teacher, student, learner=None, **settings):
    chosen = AdversarialConfig(**{**SMALL, **settings})
    config = LearnerConfig(
        **{"lr": 0.01, "warmup": 0.0, "flip": 0.0, "ema": 0.0, **(learner or {})}
    )
    distiller = build_distiller(teacher, student, config, 0, "adversarial", chosen)
    distiller.set_progress(0.0)
    return distiller


@pytest.mark.parametrize("loss", ["hinge", "bce", "lsgan"])
def test_the_generator_moves_to_where_the_critic_takes_its_images_for_real(loss):
    teacher = make_teacher()
    distiller = build(teacher, make_student(), form="images", loss=loss)
    for seed in range(3):
        distiller.update(some_batch(teacher, seed=seed))
    parts = distiller.extras()
    before = copy.deepcopy(parts["generator"].network)
    distiller.update(some_batch(teacher, seed=3))
    # The step was taken against the critic as it is now.
    critic, after = copy.deepcopy(parts["critic"].critics[0]).eval(), parts["generator"].network
    latents = torch.randn(64, SMALL["latent_dim"], generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        first, last = (critic(network.train()(latents)).mean() for network in (before, after))
    assert last > first


def test_the_student_learns_the_teachers_answers_to_generated_images_as_well():
    teacher = make_teacher()
    distiller = build(teacher, make_student(), form="images", weight=20.0)
    batch = some_batch(teacher)
    first = float(distiller.update(batch)["made_kd"])
    for _ in range(30):
        last = float(distiller.update(batch)["made_kd"])
    assert last < 0.7 * first


def test_the_critic_learns_to_name_the_classes_of_the_teachers_answers():
    teacher = make_teacher()
    distiller = build(teacher, make_student(), form="logits", classes=1.0, critic_lr=0.01)
    batch = some_batch(teacher, 64)
    labels = batch.prediction.logits.argmax(1)

    def class_loss():
        critic = copy.deepcopy(distiller.extras()["critic"].critics[0]).eval()
        with torch.no_grad():
            return float(F.cross_entropy(critic.classify(batch.prediction.logits), labels))

    first = class_loss()
    for _ in range(30):
        distiller.update(Batch(batch.inputs))
    assert class_loss() < 0.7 * first
