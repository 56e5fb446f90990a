"""Students that are attacked while they learn: the losses, the attack, and how it is measured."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dfkd
from dfkd.cli import arguments, info
from dfkd.datasets import LabelledImages, load_data
from dfkd.distillation.learner import Learner
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.schemes import robust
from dfkd.distillation.schemes.robust import RobustConfig
from dfkd.errors import DfkdError
from dfkd.evaluation.robustness import IMAGES, robust_accuracy, select_evenly
from dfkd.loading import load_teacher
from dfkd.protocols import Batch
from dfkd.recipes import from_dict, recipe, to_dict, with_scheme
from dfkd.recipes.schemes import build_distiller
from dfkd.tasks import Prediction
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

CONFIG = LearnerConfig(lr=0.01, warmup=0.0, flip=0.0, ema=0.0, temperature=1.0)
TINY = ImageSpec(1, 1, 2, (0.5,), (0.25,))


def some_images(count: int = 32) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2))


def losses_of(monkeypatch) -> list[torch.Tensor]:
    """Every loss that a learner steps on, from here on."""
    found = []
    learn = Learner.learn
    monkeypatch.setattr(
        Learner, "learn", lambda self, loss: (found.append(loss.detach()), learn(self, loss))
    )
    return found


# The teacher's answers (2, 0) and (0, 1); a student that answers (0, 0) whatever it is shown.
PLAIN = 0.2194  # KL at temperature 1, the mean of 0.3278 and 0.1109
SOFT = 4 * 0.07062  # at temperature 2, times its square: the mean of 0.1109 and 0.0303


@pytest.mark.parametrize(
    ("knowledge", "temperature", "settings", "wanted"),
    [
        ("kd", 1.0, {}, 5 / 6 * PLAIN + 1 / 6 * PLAIN),
        ("kd", 1.0, {"weight": 0.5}, PLAIN),
        ("hard", 1.0, {"form": "ard", "weight": 0.9}, 0.9 * PLAIN + 0.1 * math.log(2)),
        ("hard", 2.0, {"form": "ard", "weight": 0.9}, 0.9 * SOFT + 0.1 * math.log(2)),
        ("hard", 2.0, {"form": "ard", "weight": 1.0}, SOFT),
    ],
)
def test_the_papers_losses_of_a_student_that_knows_nothing(
    knowledge, temperature, settings, wanted, monkeypatch
):
    found, student = losses_of(monkeypatch), linear()
    for parameter in student.parameters():
        nn.init.zeros_(parameter)
    # The learner's own temperature is not that of what is attacked.
    config = dataclasses.replace(CONFIG, knowledge=knowledge, temperature=1.0)
    settings = RobustConfig(**settings, temperature=temperature)
    distiller = build_distiller(Teacher(linear(1), TINY), student, config, 0, "robust", settings)
    answers = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    distiller.update(
        Batch(torch.full((2, 1, 1, 2), 0.5), Prediction(answers), torch.tensor([0, 1]))
    )
    assert float(found[0]) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("form", "knowledge", "temperature"), [("rslad", "kd", 1.0), ("ard", "hard", 3.0)]
)
def test_the_papers_losses_step_by_step(form, knowledge, temperature, monkeypatch):
    found, teacher, student = losses_of(monkeypatch), Teacher(linear(1), TINY), linear(2)
    attack = {"epsilon": 0.2, "step_size": 0.07, "steps": 3, "temperature": temperature}
    settings = RobustConfig(form=form, weight=0.7, **attack)
    config = dataclasses.replace(CONFIG, knowledge=knowledge)
    images, labels = torch.rand(6, 1, 1, 2), torch.tensor([0, 1, 0, 1, 1, 0])
    answers = teacher(images)
    soft = (answers / temperature).softmax(1)

    def divergence(x):
        told = F.log_softmax(student(TINY.normalize(x)) / temperature, 1)
        return temperature**2 * F.kl_div(told, soft, reduction="batchmean")

    def wrongness(x):
        return F.cross_entropy(student(TINY.normalize(x)), labels)

    draws = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    moved = (images + 0.2 * (2 * draws - 1)).clamp(0, 1)
    for _ in range(3):
        moved.requires_grad_()
        aim = divergence if form == "rslad" else wrongness
        (gradient,) = torch.autograd.grad(aim(moved), moved)
        moved = moved.detach() + 0.07 * gradient.sign()
        moved = torch.clamp(torch.minimum(torch.maximum(moved, images - 0.2), images + 0.2), 0, 1)
    clean = divergence(images) if form == "rslad" else wrongness(images)
    wanted = 0.7 * divergence(moved) + 0.3 * clean

    distiller = build_distiller(teacher, student, config, 0, "robust", settings)
    distiller.update(Batch(images, target=labels))
    torch.testing.assert_close(found[0], wanted.detach())


def test_without_weight_it_is_offline_bit_for_bit(tiny_teacher, tiny_student):
    students = [tiny_student, copy.deepcopy(tiny_student)]
    config = dataclasses.replace(CONFIG, flip=0.5, ema=0.9, knowledge="kd + hint")
    runs = [
        build_distiller(tiny_teacher, students[0], config, 3),
        build_distiller(tiny_teacher, students[1], config, 3, "robust", RobustConfig(weight=0)),
    ]
    for _ in range(4):
        one, other = (run.update(Batch(some_images())) for run in runs)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    states = [run.finished().state_dict() for run in runs]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_images_that_leave_zero_and_one_are_attacked_within(
    tiny_teacher, tiny_student, monkeypatch
):
    settings = RobustConfig(epsilon=0.05, step_size=0.02)
    scheme = build_distiller(tiny_teacher, tiny_student, CONFIG, 0, "robust", settings)
    images = 4 * some_images() - 1.5  # as generators make them that end with a batch-norm
    within, asked, attacks = images.clamp(0, 1), [], []
    learner, pgd = scheme.learners[0], robust.pgd
    ask = learner.forward
    monkeypatch.setattr(learner, "forward", lambda shard: asked.append(ask(shard)) or asked[0])
    monkeypatch.setattr(
        robust, "pgd", lambda *a, **options: attacks.append((a[1], pgd(*a, **options))) or a[1]
    )
    # What is known of the images as they came is no answer to what they become.
    scheme.update(Batch(images, Prediction(tiny_teacher(images) + 1)))
    (answers,), ((around, moved),) = asked, attacks
    assert torch.equal(around, within)
    torch.testing.assert_close(answers.teacher.logits, tiny_teacher(within))
    assert ((moved >= 0) & (moved <= 1)).all()
    assert (moved - within).abs().max() <= 0.05 + 1e-6
    assert ((moved - within).abs() > 0.02).float().mean() > 0.3


def test_answers_that_are_known_are_those_of_the_attack(tiny_teacher, tiny_student):
    distiller = build_distiller(tiny_teacher, tiny_student, CONFIG, 0, "robust")
    images = some_images()
    distiller.update(Batch(images, tiny_teacher.predict(images)))
    assert distiller.teacher_images == 0


@pytest.mark.parametrize("form", ["rslad", "ard"])
def test_the_attack_stays_in_the_ball_raises_its_aim_and_leaves_the_student(
    form, tiny_teacher, tiny_student
):
    settings = RobustConfig(form=form, epsilon=0.05, step_size=0.02)
    distiller = build_distiller(tiny_teacher, tiny_student, CONFIG, 0, "robust", settings)
    scheme, images = distiller, some_images()
    answers = scheme.learners[0].forward(Batch(images))
    state, mode = copy.deepcopy(tiny_student.state_dict()), tiny_student.training
    moved = scheme._attacked(images, answers)
    assert (moved - images).abs().max() <= 0.05 + 1e-6
    assert (moved - images).abs().mean() > 0.02
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert tiny_student.training == mode
    assert all(torch.equal(value, state[key]) for key, value in tiny_student.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in tiny_student.parameters())
    aim = scheme._aim(answers)
    tiny_student.eval()
    with torch.no_grad():
        before, after = (aim(scheme._answer(tiny_student, x)) for x in (images, moved))
    assert before.shape == after.shape == (32,)
    assert (after > before).all()


def test_a_student_learns_to_withstand(tiny_teacher, tiny_student):
    tiny_teacher.network.head.weight.data *= 5
    settings = RobustConfig(epsilon=0.02, step_size=0.01, steps=3)
    distiller = build_distiller(tiny_teacher, tiny_student, CONFIG, 0, "robust", settings)
    found = [distiller.update(Batch(some_images(64))) for _ in range(60)]
    assert set(found[0]) == {
        f"{name}" for name in ("kd", "agreement", "robust", "robust_agreement")
    }
    for name in ("kd", "robust"):
        assert found[-1][f"{name}"] < 0.5 * found[0][f"{name}"]
    assert distiller.teacher_images == 60 * 64  # of attacked images it is never asked


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"form": "rslat"}, "did you mean 'rslad'"),
        ({"weight": 1.5}, "within 0 and 1, not 1.5"),
        ({"weight": math.nan}, "within 0 and 1"),
        ({"epsilon": 0}, "epsilon within 0 and 1"),
        ({"epsilon": 8}, "epsilon within 0 and 1"),
        ({"steps": 0}, "one step or more"),
        ({"step_size": -1}, "positive step_size"),
        ({"temperature": 0}, "temperature must be positive"),
    ],
)
def test_impossible_settings(settings, what):
    with pytest.raises(DfkdError, match=what) as refusal:
        RobustConfig(**settings)
    assert "\n" not in str(refusal.value)


def test_its_recipe_survives_a_file():
    plan = with_scheme(recipe("default"), "robust")
    plan = dataclasses.replace(plan, scheme_config=RobustConfig("ard", 0.1, 0.02, 3, 1.0))
    assert from_dict(to_dict(plan)) == plan


# What is measured afterwards


def test_figures_name_the_attack_and_every_network(tiny_teacher, tiny_student):
    images = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8)
    data = LabelledImages(images, torch.arange(60) % 4, "noise")
    plan = with_scheme(recipe("drawings"), "robust")
    plan = dataclasses.replace(plan, scheme_config=RobustConfig(epsilon=0.1, steps=1))
    result = dfkd.distill(
        tiny_teacher, tiny_student, recipe=plan, steps=2, evaluation=data, device="cpu"
    )
    figures, networks = result.figures, (tiny_teacher.network, result.student)
    wanted = [
        robust_accuracy(network, tiny_teacher.spec, data, epsilon=0.1, steps=20)
        for network in networks
    ]
    assert [row["robust_accuracy"] for row in figures["comparison"]] == wanted
    assert figures["robust_accuracy"] == wanted[1]
    assert figures["robustness"] == {"epsilon": 0.1, "steps": 20, "images": 60}
    # Any other scheme where it is asked for, and none where it is not.
    plain = {"steps": 2, "evaluation": data, "device": "cpu"}
    assert (
        "robust_accuracy"
        not in dfkd.distill(tiny_teacher, tiny_student, "drawings", **plain).figures
    )
    told = dfkd.distill(tiny_teacher, tiny_student, "drawings", epsilon=0.02, **plain).figures
    assert told["robustness"]["epsilon"] == 0.02
    with pytest.raises(DfkdError, match="give evaluation"):
        dfkd.distill(tiny_teacher, tiny_student, "drawings", epsilon=0.02, steps=2)
    with pytest.raises(DfkdError, match="not 8"):
        dfkd.distill(tiny_teacher, tiny_student, "drawings", epsilon=8, **plain)


def test_large_data_are_attacked_at_even_distances():
    labels = torch.arange(4).repeat_interleave(1000)
    data = LabelledImages(torch.zeros(4000, 1, 1, 1, dtype=torch.uint8), labels, "sorted")
    assert select_evenly(data).labels.bincount().tolist() == [IMAGES // 4] * 4
    assert torch.equal(select_evenly(data, 9000).labels, labels)


def test_evaluate_shows_a_column_where_epsilon_is_given(capsys, tmp_path):
    data = select_evenly(load_data("bundled:digits_vgg"), 90)
    np.savez(tmp_path / "few.npz", images=data.images[:, 0].numpy(), labels=data.labels.numpy())
    models = ("bundled:digits_vgg",)
    command = arguments.Evaluate(models, f"npz:{tmp_path / 'few.npz'}", epsilon=0.1)
    assert info.run_evaluate(command) == 0
    told = capsys.readouterr().out
    assert "PGD-20: 90 images, epsilon 0.1" in told
    teacher = load_teacher(models[0])
    share = robust_accuracy(teacher, teacher.spec, data, epsilon=0.1, steps=20)
    heading = next(line for line in told.splitlines() if "Parameters" in line)
    assert "PGD-20" in heading
    assert f"{100 * share:.2f} %" in told
    assert info.run_evaluate(dataclasses.replace(command, epsilon=None)) == 0
    assert "PGD" not in capsys.readouterr().out
    with pytest.raises(DfkdError, match="epsilon is a change"):
        info.run_evaluate(dataclasses.replace(command, epsilon=-0.1))
