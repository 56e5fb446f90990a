"""Losses: closed forms, gradients, bounds and signs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from dfkd.errors import DfkdError
from dfkd.losses.adversarial import (
    activation,
    class_balance,
    decision_adversarial,
    js_competition,
)
from dfkd.losses.prior import l2_norm, total_variation_l1, total_variation_l2
from dfkd.losses.response import cross_entropy, kl_divergence, l1_logits, mse_logits
from dfkd.losses.statistics import LayerStatistics, norm_distance, scale_free_distance

seeds = st.integers(0, 2**31)
few = settings(max_examples=25, deadline=None)


def pair(seed: int, samples: int = 4, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Student's and teacher's logits in float64, of a size that the seed chooses too."""
    generator = torch.Generator().manual_seed(seed)
    scale = 10 ** torch.empty(2, 1, 1).uniform_(-1, 1, generator=generator)
    logits = torch.randn((2, samples, classes), generator=generator) * scale
    student, teacher = logits.double()
    return student.requires_grad_(), teacher.requires_grad_()


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p * (p / q).log()).sum(1)


def layer(mean, var, running_mean, running_var, name="bn") -> LayerStatistics:
    tensors = (torch.tensor(v, dtype=torch.double) for v in (mean, var, running_mean, running_var))
    return LayerStatistics(name, *tensors)


# Response


@few
@given(seeds, st.floats(0.5, 20))
def test_kl_is_the_textbooks_times_t_squared(seed, temperature):
    student, teacher = pair(seed)
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    expected = temperature**2 * kl(p, q)
    found = [
        kl_divergence(student, teacher, temperature=temperature, reduction=reduction)
        for reduction in ("none", "batchmean", "mean")
    ]
    torch.testing.assert_close(found, [expected, expected.mean(), expected.mean() / 5])


@few
@given(seeds, st.floats(-50, 50))
def test_kl_is_positive_zero_only_for_equals_and_blind_to_shifts(seed, shift):
    student, teacher = pair(seed)
    divergence = kl_divergence(student, teacher)
    assert divergence > 0
    assert kl_divergence(teacher + shift, teacher).abs() < 1e-12
    shifted = kl_divergence(student + shift, teacher - shift)
    torch.testing.assert_close(shifted, divergence, rtol=1e-9, atol=1e-12)


def test_the_hinton_gradient_keeps_its_size_at_high_temperature():
    student, teacher = pair(0)
    student = student - student.mean(1, keepdim=True)
    teacher = teacher - teacher.mean(1, keepdim=True)
    loss = kl_divergence(student, teacher, temperature=1e4)
    # Hinton et al., eq. 4: matching logits, (s - t)^2 / (2 classes).
    torch.testing.assert_close(
        loss, ((student - teacher) ** 2).sum(1).mean() / 10, rtol=1e-3, atol=0
    )


def test_descending_the_kl_brings_the_student_nearer():
    student, teacher = pair(1)
    (gradient,) = torch.autograd.grad(kl_divergence(student, teacher), student)
    assert kl_divergence(student - 0.01 * gradient, teacher) < kl_divergence(student, teacher)


def test_cross_entropy_wants_the_target():
    logits = torch.tensor([[2.0, 0.0, 0.0]])
    assert cross_entropy(logits, torch.tensor([0])) < cross_entropy(logits, torch.tensor([1]))
    expected = math.log(math.e**2 + 2) - 2
    assert cross_entropy(logits, torch.tensor([0])).item() == pytest.approx(expected)
    soft = cross_entropy(logits, torch.tensor([[0.5, 0.5, 0.0]]))
    assert soft.item() == pytest.approx(expected + 1)


def test_distances_of_logits():
    student, teacher = (
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        torch.tensor([[1.0, 0.0], [0.0, 8.0]]),
    )
    assert l1_logits(student, teacher).item() == (0 + 2 + 3 + 4) / 4
    assert mse_logits(student, teacher).item() == (0 + 4 + 9 + 16) / 4


@pytest.mark.parametrize("loss", [kl_divergence, l1_logits, mse_logits])
def test_logits_of_two_shapes_do_not_broadcast(loss):
    with pytest.raises(DfkdError, match=r"one shape, not \(4, 10\) and \(1, 10\)"):
        loss(torch.zeros(4, 10), torch.zeros(1, 10))


def test_an_unknown_reduction():
    with pytest.raises(DfkdError, match="did you mean 'batchmean'"):
        kl_divergence(torch.zeros(1, 2), torch.zeros(1, 2), reduction="batch_mean")


# Layer statistics

LAYERS = (
    layer([3.0, 4.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0], "a"),
    layer([0.0, 0.0, 0.0], [3.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0], "b"),
)


def test_norm_distance_by_hand():
    assert norm_distance(LAYERS).item() == pytest.approx(5 + 3)
    assert norm_distance(LAYERS, first_layer_weight=10).item() == pytest.approx(50 + 3)
    assert norm_distance(LAYERS[:1], first_layer_weight=0).item() == 0


def test_norm_distance_is_smooth_where_a_norm_is_zero():
    mean = torch.zeros(3, requires_grad=True)
    var = torch.ones(3, requires_grad=True)
    same = LayerStatistics("bn", mean, var, torch.zeros(3), torch.ones(3))
    norm_distance((same,)).backward()
    assert torch.equal(mean.grad, torch.zeros(3))
    assert torch.equal(var.grad, torch.zeros(3))


def test_scale_free_distance_by_hand():
    first = 0.5 * (9 + 16) / 2
    second = 0.5 * (2 - math.log(3) - 0.5 + math.log(2) - 2 / 3 + math.log(3)) / 3
    assert scale_free_distance(LAYERS, eps=0).item() == pytest.approx((first + second) / 2)


@few
@given(seeds, st.floats(0.1, 10))
def test_scale_free_distance_ignores_scale_width_and_depth(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    mean, var, running_mean, running_var = torch.randn((4, 6), generator=generator).double()
    var, running_var = var.exp(), running_var.exp()
    one = LayerStatistics("bn", mean, var, running_mean, running_var)
    scaled = LayerStatistics(
        "bn", scale * mean, scale**2 * var, scale * running_mean, scale**2 * running_var
    )
    wider = LayerStatistics("bn", *(torch.cat([v, v]) for v in one[1:]))
    distance = scale_free_distance((one,), eps=0)
    assert distance > 0
    for same in ((scaled,), (one, one, scaled), (wider, one)):
        torch.testing.assert_close(scale_free_distance(same, eps=0), distance)
    stored = one._replace(mean=running_mean, var=running_var)
    assert scale_free_distance((stored,)).abs() < 1e-12
    moved = one._replace(mean=0.5 * (mean + running_mean))
    assert scale_free_distance((moved,), eps=0) < distance


def test_dead_channels_stay_finite():
    zero = torch.zeros(3, requires_grad=True)
    dead = LayerStatistics("bn", zero, zero, torch.zeros(3), torch.zeros(3))
    distance = scale_free_distance((dead,)) + norm_distance((dead,))
    distance.backward()
    assert distance == 0
    assert zero.grad.isfinite().all()


def test_half_precision_teachers_are_compared_in_float32():
    half = LayerStatistics(
        "bn", torch.ones(2), torch.ones(2), torch.ones(2).half(), torch.ones(2).half()
    )
    assert norm_distance((half,)).dtype == scale_free_distance((half,)).dtype == torch.float32


@pytest.mark.parametrize("loss", [norm_distance, scale_free_distance])
def test_no_statistics_is_an_error_and_never_zero(loss):
    with pytest.raises(DfkdError, match="drawings"):
        loss(())


# Priors


def test_total_variation_of_one_bright_pixel():
    images = torch.zeros(1, 1, 3, 3)
    images[..., 1, 1] = 2.0
    # The centre has 8 neighbours: two in each direction.
    assert total_variation_l1(images).item() == pytest.approx(4 / 6 + 4 / 6 + 4 / 4 + 4 / 4)
    assert total_variation_l2(images).item() == pytest.approx(4 * math.sqrt(8))


@few
@given(seeds, st.floats(-2, 2))
def test_total_variation_ignores_a_constant_and_grows_with_contrast(seed, shift):
    images = torch.rand((2, 3, 5, 6), generator=torch.Generator().manual_seed(seed)).double()
    for loss in (total_variation_l1, total_variation_l2):
        torch.testing.assert_close(loss(images + shift), loss(images))
        torch.testing.assert_close(loss(3 * images), 3 * loss(images))
        torch.testing.assert_close(loss(images.flip(-1)), loss(images))
        assert loss(images) > loss(0.5 * (images + images.mean())) > 0


def test_priors_are_smooth_at_zero():
    images = torch.zeros((2, 1, 4, 4), requires_grad=True)
    (total_variation_l1(images) + total_variation_l2(images) + l2_norm(images)).backward()
    assert torch.equal(images.grad, torch.zeros(2, 1, 4, 4))


def test_l2_norm_is_the_mean_over_images():
    images = torch.stack([torch.full((1, 2, 2), 1.0), torch.full((1, 2, 2), 3.0)])
    assert l2_norm(images).item() == (2 + 6) / 2


# Adversaries


@few
@given(seeds)
def test_js_competition_is_the_reversed_divergence(seed):
    student, teacher = pair(seed, classes=3)
    p, q = (student / 3).softmax(1), (teacher / 3).softmax(1)
    m = (0.5 * (p + q)).clamp(0.01, 0.99)
    p, q = p.clamp(0.01, 0.99), q.clamp(0.01, 0.99)
    expected = (0.5 * kl(m, p) + 0.5 * kl(m, q)).mean().clamp(0, 1)
    torch.testing.assert_close(js_competition(student, teacher), expected)
    torch.testing.assert_close(js_competition(teacher, student), expected)
    assert 0 <= expected <= 1


def test_js_competition_is_clamped_to_one():
    far = 1e3 * torch.eye(2)
    assert js_competition(far, -far).item() <= 1
    assert js_competition(far, far).item() == 0


def test_one_minus_js_rewards_disagreement():
    teacher = torch.tensor([[2.0, 0.0]])
    student = torch.tensor([[1.0, 0.0]], requires_grad=True)
    js = js_competition(student, teacher)
    (gradient,) = torch.autograd.grad(1 - js, student)
    assert js_competition(student - 0.1 * gradient, teacher) > js


@few
@given(seeds)
def test_decision_adversarial_counts_only_shared_decisions(seed):
    student, teacher = pair(seed, samples=16, classes=3)
    divergence = kl(teacher.softmax(1), student.softmax(1))
    agreed = student.argmax(1) == teacher.argmax(1)
    expected = -torch.where(agreed, divergence, 0.0).sum() / 16
    torch.testing.assert_close(decision_adversarial(student, teacher), expected)
    assert expected <= 0


def test_decision_adversarial_pushes_apart_through_both():
    student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
    student.requires_grad_()
    teacher.requires_grad_()
    loss = decision_adversarial(student, teacher)
    loss.backward()
    assert student.grad[0, 0] > 0  # descent lowers the student's confidence in the class
    assert teacher.grad[0, 0] < 0  # and raises the teacher's


def test_class_balance_is_least_for_equal_classes():
    equal, one_class = 20 * torch.eye(4), 20 * torch.eye(4)[[0, 0, 0, 0]]
    assert class_balance(equal).item() == pytest.approx(-math.log(4), abs=1e-5)
    assert class_balance(equal, base=10).item() == pytest.approx(-math.log10(4), abs=1e-5)
    assert class_balance(one_class).item() == pytest.approx(0, abs=1e-5)
    assert class_balance(1e4 * torch.eye(4)).isfinite()


@few
@given(seeds)
def test_class_balance_is_minus_the_entropy_of_the_mean(seed):
    logits, _ = pair(seed)
    p = logits.softmax(1).mean(0)
    torch.testing.assert_close(class_balance(logits), (p * p.log()).sum())


def test_activation_wants_large_features():
    assert activation(torch.tensor([[1.0, -5.0]])).item() == -3
    assert activation(torch.ones(2, 3, 4, 4)) > activation(2 * torch.ones(2, 3, 4, 4))


# Gradients


@pytest.mark.parametrize(
    "loss",
    [
        kl_divergence, l1_logits, mse_logits, js_competition, decision_adversarial,
        lambda s, t: class_balance(t, base=10), lambda s, t: activation(s),
        lambda s, t: cross_entropy(s, torch.tensor([0, 1, 2, 3])),
        lambda s, t: kl_divergence(s, t, temperature=2.0, reduction="none"),
    ],
)  # fmt: skip
def test_gradients_of_losses_on_logits(loss):
    assert gradcheck(loss, pair(3))


@pytest.mark.parametrize("loss", [total_variation_l1, total_variation_l2, l2_norm])
def test_gradients_of_priors(loss):
    assert gradcheck(loss, torch.rand((2, 2, 3, 4), dtype=torch.double, requires_grad=True))


@pytest.mark.parametrize("loss", [norm_distance, scale_free_distance])
def test_gradients_of_statistics(loss):
    def of(mean, var):
        stored = torch.ones(3, dtype=torch.double)
        return loss((LayerStatistics("bn", mean, var, 0 * stored, stored),) * 2)

    mean, var = torch.rand((2, 3), dtype=torch.double) + 0.5
    assert gradcheck(of, (mean.requires_grad_(), var.requires_grad_()))
