"""Never worse than the start, on images that no student learns from; and what is no success."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import dfkd
from dfkd.distillation.learner_config import CARE, LearnerConfig
from dfkd.evaluation.chance import at_chance, constant_share
from dfkd.evaluation.holding_out import Effort, hold_out
from dfkd.evaluation.validation import Standing, Validation
from dfkd.loading import load_student, load_teacher
from dfkd.recipes import override, recipe
from dfkd.report import sentences
from dfkd.runs.distillation import distill
from dfkd.runs.failure import failure_of

SMALL = ["synthesizer.draws=64", "synthesizer.refine_batch=16", "alternation.batch_size=32"]


def same(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def network():
    """A trained student of the teacher's own architecture; another one, untrained."""
    return copy.deepcopy(load_teacher("bundled:digits_vgg").restore()), untrained()


def untrained():
    torch.manual_seed(3)
    return load_student("dfkd.networks:vgg?widths=(8,16)", load_teacher("bundled:digits_vgg"))


def test_held_out_images_are_the_same_for_the_same_teacher(teacher, held_out):
    again = hold_out(teacher, Effort(128, 32, 3, 9))
    assert torch.equal(held_out.images, again.images)
    assert held_out.counts == dict.fromkeys(("corrected", "drawn", "patched", "pixels"), 32)
    assert (len(held_out), held_out.images.dtype) == (128, torch.uint8)
    assert torch.equal(held_out.logits, teacher(held_out.images.float() / 255))


def test_without_statistics_they_are_drawings():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    held_out = hold_out(dfkd.Teacher(network, dfkd.ImageSpec(1, 8, 8)), Effort(64, 16, 3, 9))
    assert held_out.counts == {"drawn": 16, "patched": 16}
    assert (held_out.own_kind, len(held_out.own)) == ("drawn", 16)


def test_the_kinds_of_images_lie_one_after_the_other(held_out):
    parts = [held_out.images[held_out.places(kind)] for kind in held_out.counts]
    assert torch.equal(torch.cat(parts), held_out.images)
    assert torch.equal(parts[0], held_out.own)
    assert len(held_out.images[held_out.places("unlabelled")]) == 0


def test_a_patchwork_has_a_part_of_another_image(held_out):
    own = held_out.own
    patched = held_out.images[held_out.places("patched")]
    other = own.roll(1, 0)
    assert ((patched == own) | (patched == other)).all()
    differ = (own != other).flatten(1).any(1)  # a rare class has few drawings
    assert ((patched != own).flatten(1).any(1) <= differ).all()
    assert (patched != own).flatten(1).any(1).float().mean() > 0.5


def test_the_pixels_are_of_many_classes_and_no_drawings(teacher, held_out):
    pixels = held_out.images[held_out.places("pixels")]
    assert (pixels == 0).float().mean() < 0.2  # a drawing's ground is black
    assert len(teacher(pixels.float() / 255).argmax(1).unique()) >= 5


def test_students_are_judged_by_what_none_learns_from(teacher, held_out):
    judging = held_out.judging()
    assert judging.counts == {"patched": 32, "pixels": 32}
    assert torch.equal(judging.images[:32], held_out.images[held_out.places("patched")])
    assert torch.equal(judging.logits, teacher(judging.images.float() / 255))
    assert len(Validation(held_out, teacher, untrained()).held_out) == 64


def test_the_users_own_images_come_first_and_are_asked_about(teacher, held_out):
    images = torch.randint(0, 256, (8, *teacher.spec.shape), dtype=torch.uint8)
    more = held_out.with_unlabelled(images, teacher)
    assert list(more.counts) == ["unlabelled", "corrected", "drawn", "patched", "pixels"]
    assert torch.equal(more.own, images)
    assert torch.equal(more.logits[:8], teacher(images.float() / 255))
    assert torch.equal(more.logits[8:], held_out.logits)
    assert list(more.judging().counts) == ["unlabelled", "patched", "pixels"]


def test_a_copy_of_the_teacher_stands_as_it_does(teacher, held_out):
    validation = Validation(held_out, teacher, network()[0])
    assert validation.start.agreement == 1.0
    assert validation.start.divergence == pytest.approx(0.0, abs=1e-6)
    assert validation.knows


def test_the_better_one_is_kept(teacher, held_out):
    good, worse = network()
    kept = Validation(held_out, teacher, good).judged(worse)
    assert kept.returned
    assert same(kept.student, good)
    assert kept.student is not good
    gained = Validation(held_out, teacher, worse).judged(good)
    assert not gained.returned
    assert gained.student is good
    assert Validation(held_out, teacher, good).judged(worse, by_agreement=False).student is worse


class Constant(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = nn.Parameter(10 * torch.eye(10)[answer])

    def forward(self, x):
        return self.answer.expand(len(x), 10)


def test_guessing_is_nothing_to_return_to(teacher, held_out):
    """A constant answer may agree more often than what a few steps have learnt."""
    order = held_out.judging().logits.argmax(1).bincount(minlength=10).argsort().tolist()
    verdict = Validation(held_out, teacher, Constant(order[-1])).judged(Constant(order[0]))
    assert verdict.start.guessing
    assert verdict.start.agreement > verdict.end.agreement
    assert not verdict.returned


def test_weights_that_were_trained_are_returned_to_even_where_they_seem_to_guess(teacher, held_out):
    """A teacher's network on smaller images may know its data and none of the held-out images."""
    order = held_out.judging().logits.argmax(1).bincount(minlength=10).argsort().tolist()
    brought = Validation(held_out, teacher, Constant(order[-1]), trained=True)
    assert brought.start.guessing
    assert brought.judged(Constant(order[0])).returned


def test_a_run_cannot_make_a_copy_worse(teacher):
    student = network()[0]
    plan = override(recipe("default"), [*SMALL, "learner.lr=1.0", "learner.careful=false"])
    result = distill(teacher, student, steps=12, recipe=plan, init="given")
    assert same(result.student, teacher.network)
    assert result.figures["held_out"]["kept"] == "start"
    assert result.figures["agreement"] == 1.0
    assert "kept as it started" in sentences.kept_from_before(result.figures)
    assert not same(student, teacher.network)  # it was trained, and badly


def test_a_student_that_knows_is_trained_with_care(teacher):
    student = network()[0]
    statistics = student.stages[0][1].running_mean.clone()
    plan = override(recipe("default"), SMALL)
    result = distill(teacher, student, steps=4, recipe=plan, init="given")
    assert any("with care" in line for line in result.figures["decisions"])
    assert torch.equal(student.stages[0][1].running_mean, statistics)
    stranger = distill(teacher, untrained(), steps=2, recipe=plan, init="random")
    assert not any("with care" in line for line in stranger.figures["decisions"])
    assert LearnerConfig(careful=True).lr_at(0.5) == CARE * LearnerConfig().lr_at(0.5)


def test_a_student_of_the_teachers_own_weights_is_trained_with_care(teacher):
    student = load_student("teacher:5", teacher)  # so small that it agrees on few
    plan = override(recipe("default"), SMALL)
    result = distill(teacher, student, steps=4, recipe=plan, init="given")
    assert result.metrics.held_out.start.agreement < 0.9
    (line,) = [line for line in result.metrics.decisions if "with care" in line]
    assert "all of its weights are the teacher's" in line


@pytest.mark.parametrize(
    ("hits", "total", "share", "guesses"),
    [(0, 10, 0.5, True), (25, 100, 0.25, True), (40, 100, 0.25, False), (10, 10, 1.0, False)],
)
def test_chance(hits, total, share, guesses):
    assert at_chance(hits, total, share) is guesses


def test_the_constant_answer():
    assert constant_share(torch.tensor([2, 2, 2, 0])) == 0.75


GOOD, POOR = Standing(0.9, 0.1, False), Standing(0.3, 2.0, True)
SPENT = SimpleNamespace(student_steps=5, seconds=SimpleNamespace(total=60.0, synthesis=59.0))
NOT_A_STEP = SimpleNamespace(student_steps=0, seconds=SPENT.seconds)
REAL = dfkd.datasets.LabelledImages(torch.zeros(80, 1, 1, 1), torch.arange(80) % 4, "npz:x")


@pytest.mark.parametrize(
    ("cost", "accuracies", "kept", "real", "said"),
    [
        (SPENT, (None, None), GOOD, None, ""),
        (SPENT, (None, None), POOR, None, "at chance"),
        (NOT_A_STEP, (None, None), POOR, None, "No step"),
        (NOT_A_STEP, (0.9, 0.25), GOOD, REAL, "No step"),
        (SPENT, (0.9, 0.8), POOR, REAL, ""),  # what is measured on real images counts
        (SPENT, (0.9, 0.25), GOOD, REAL, "The student is at chance: 25.0%"),
        (SPENT, (0.25, 0.25), GOOD, REAL, "Student and teacher are at chance"),
    ],
)
def test_failures_are_said(cost, accuracies, kept, real, said):
    names = ("teacher_accuracy", "student_accuracy")
    measured = SimpleNamespace(**dict(zip(names, accuracies, strict=True)))
    found = failure_of(cost, measured, kept, real)
    assert found.startswith(said) if said.startswith(("S", "T", "N")) else said in found
    assert bool(found) is bool(said)
    assert len(found) <= 300


def test_a_budget_without_a_step_is_no_success(tiny_teacher, tiny_student, tmp_path):
    result = distill(tiny_teacher, tiny_student, minutes=1e-6, out=tmp_path / "run")
    assert result.failure.startswith("No step")
    assert result.figures["complete"] is False
    assert result.figures["failure"] == result.failure
    page = (tmp_path / "run" / "report.html").read_text()
    assert "No step of the student was made" in page
    assert "keeps" not in page
