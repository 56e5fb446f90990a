"""Adaptive DeepInversion's oracles: the images really compete, with the student of the moment."""

import copy

import pytest
import torch

from dfkd.errors import DfkdError
from dfkd.losses.adversarial import js_competition
from dfkd.losses.prior import l2_norm, total_variation_l1, total_variation_l2
from dfkd.losses.response import cross_entropy
from dfkd.losses.statistics import norm_distance
from dfkd.recipes.methods import METHODS
from dfkd.synthesis.methods.adi import Adi, AdiConfig
from support.methods import build, make_student, make_teacher

ALONE = {"main": 0.0, "r_feature": 0.0, "tv_l2": 0.0, "adi": 1.0, "jitter": 0}


def watch(method: Adi) -> list[torch.Tensor]:
    """Every batch that the teacher is shown from here on while pixels are optimised."""
    shown, trace = [], method.teacher.trace

    def spy(images, **options):
        shown.append(images.detach().clone())
        return trace(images, **options)

    method.teacher.trace = spy
    return shown


def disagreement(method: Adi, student, images) -> float:
    answers = copy.deepcopy(student).eval()(method.teacher.spec.normalize(images))
    return js_competition(answers, method.teacher(images)).item()


def test_competition_alone_drives_student_and_teacher_apart():
    method, student = build("adi", make_teacher(), iterations=30, **ALONE), make_student()
    shown = watch(method)
    metrics = method.update(student)
    assert set(metrics) == {"loss", "js"}
    first, last = (disagreement(method, student, images) for images in (shown[0], shown[-1]))
    assert last > first + 0.02
    assert metrics["js"] == metrics["loss"] < 1 - last + 0.01


def test_the_gradient_comes_through_both_networks():
    method, student = build("adi", make_teacher(), iterations=2, **ALONE), make_student()
    shown = watch(method)
    method.update(student)
    images = shown[0].clone().requires_grad_()
    answers = copy.deepcopy(student).eval()((images - 0.5) / 0.25)
    js_competition(answers, method.teacher(images)).backward()
    sure = images.grad.abs() > 1e-5
    assert sure.float().mean() > 0.5
    # Adam's first step is its rate, here uphill: 0.1 of a normalised unit of 0.25.
    step = (shown[1] - shown[0])[sure]
    torch.testing.assert_close(step, 0.025 * images.grad[sure].sign(), rtol=0.01, atol=0)


def test_the_loss_by_hand():
    weights = {"main": 0.7, "r_feature": 3.0, "first_bn_multiplier": 5.0, "adi": 10.0}
    priors = {"tv_l1": 0.2, "tv_l2": 0.03, "l2": 0.04}
    method = build("adi", make_teacher(), iterations=1, batch_size=8, jitter=0, **weights, **priors)
    student, shown = make_student(), watch(method)
    metrics = method.update(student)
    trace = method.teacher.trace(shown[0], statistics=True)
    x = (shown[0] - 0.5) / 0.25
    js = js_competition(copy.deepcopy(student).eval()(x), trace.logits)
    targets = method.bank.state_dict()["columns"]["target"]
    assert targets.bincount().tolist() == [2, 2, 2, 2]
    expected = (
        0.7 * cross_entropy(trace.logits, targets)
        + 3 * norm_distance(trace.statistics, first_layer_weight=5.0)
        + 0.2 * total_variation_l1(x) + 0.03 * total_variation_l2(x) + 0.04 * l2_norm(x)
        + 10 * (1 - js)
    )  # fmt: skip
    torch.testing.assert_close(metrics["loss"], expected)
    torch.testing.assert_close(metrics["js"], 1 - js)


def test_rounds_start_from_normalised_noise_and_step_in_normalised_units():
    method = build("adi", make_teacher(), iterations=2, batch_size=64, jitter=0)
    shown = watch(method)
    method.update(make_student())
    start, after = ((images - 0.5) / 0.25 for images in shown)
    assert abs(start.mean()) < 0.05
    assert abs(start.std() - 1) < 0.05
    # Adam's first step is its rate.
    assert (after - start).abs().median().item() == pytest.approx(0.1, rel=1e-2)


def test_a_round_competes_with_the_student_of_that_moment():
    """Two rounds; the student learns in between, or does not."""
    found = []
    for learns in (False, True):
        method, student = build("adi", make_teacher(), iterations=20, jitter=0), make_student()
        method.update(student)
        if learns:
            student.load_state_dict(make_teacher().network.state_dict())
        metrics = method.update(student)
        found.append((method.bank.state_dict()["columns"]["inputs"], metrics["js"]))
    (other, apart), (images, agreeing) = found
    assert torch.equal(other[:16], images[:16])
    assert not torch.equal(other[16:], images[16:])
    assert agreeing == 1 > apart  # to the teacher itself there is nothing to disagree about


def test_the_best_iterate_is_a_copy():
    # So large a rate that every step makes it worse: the start is the best, and stays as it was.
    method = build("adi", make_teacher(), iterations=6, lr=50.0, jitter=0)
    shown = watch(method)
    method.update(make_student())
    expected = shown[0].clamp(0, 1).mul(255).round().to(torch.uint8)
    assert torch.equal(method.bank.state_dict()["columns"]["inputs"], expected)


def test_more_iterations_never_make_the_kept_batch_worse():
    losses = []
    for iterations in (1, 3, 10, 30):
        method = build("adi", make_teacher(), iterations=iterations, jitter=0)
        losses.append(float(method.update(make_student())["loss"]))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


def test_jitter_flip_and_clip_act():
    plain, jittered, flipped, clipped = (
        build("adi", make_teacher(), iterations=2, **{"jitter": 0} | setting)
        for setting in ({}, {"jitter": 2}, {"flip": 1.0}, {"clip": True})
    )
    shown = []
    for method in (plain, jittered, flipped, clipped):
        batches = watch(method)
        method.update(make_student())
        shown.append(batches)
    images = shown[0][0]
    assert torch.equal(shown[2][0], images.flip(-1))
    rolls = [images.roll((i, j), (2, 3)) for i in range(-2, 3) for j in range(-2, 3)]
    assert not torch.equal(shown[1][0], images)
    for index, image in enumerate(shown[1][0]):
        assert any(torch.equal(image, roll[index]) for roll in rolls)
    assert shown[0][1].min() < 0 <= shown[3][1].min() <= shown[3][1].max() <= 1


def test_settings():
    paper, row = AdiConfig(), METHODS["adi"].config()
    assert (paper.iterations, paper.batch_size) == (2000, 256)
    assert (row.iterations, row.batch_size) == (100, 128)


@pytest.mark.parametrize(
    "setting",
    [
        {"iterations": 0}, {"batch_size": 1}, {"lr": 0.0}, {"adi": -1.0}, {"flip": 1.5},
        {"jitter": -1}, {"betas": (0.9, 1.0)}, {"first_bn_multiplier": -1.0},
        {"main": 0.0, "r_feature": 0.0, "tv_l2": 0.0, "adi": 0.0},
    ],
    ids=lambda setting: next(iter(setting)),
)  # fmt: skip
def test_refuses_settings_out_of_range(setting):
    with pytest.raises(DfkdError):
        AdiConfig(**setting)
