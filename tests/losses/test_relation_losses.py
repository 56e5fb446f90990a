"""Relations of a batch's images: closed forms, gradients, and what they must not depend on."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from dfkd.errors import DfkdError
from dfkd.losses.relation import (
    angle_relation,
    correlation_congruence,
    distance_relation,
    similarity_preserving,
)

seeds = st.integers(0, 2**31)
scales = st.floats(1e-2, 1e2)
few = settings(max_examples=25, deadline=None)
LOSSES = [distance_relation, angle_relation, similarity_preserving, correlation_congruence]
every = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
RIGHT, LINE = (
    torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 4.0]]),
    torch.tensor([[0.0], [1.0], [2.0]]),
)


def rows(seed: int, count: int = 5, dimensions: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, dimensions), generator=generator).double()


def rotation(seed: int, dimensions: int = 3) -> torch.Tensor:
    return torch.linalg.qr(rows(seed, dimensions, dimensions))[0]


# By hand


def test_distances_of_a_right_triangle_and_a_line():
    # Sides 3, 4, 5 of mean 4 against 1, 1, 2 of mean 4/3; each pair twice among nine.
    differences = (3 / 4 - 3 / 4, 4 / 4 - 3 / 4, 5 / 4 - 6 / 4)
    expected = 2 * sum(d**2 / 2 for d in differences) / 9
    assert distance_relation(RIGHT, LINE).item() == pytest.approx(expected)


def test_a_far_pair_counts_linearly_and_equal_points_not_in_the_mean():
    # 2, 1, 1 of mean 4/3 against 0, 1, 1 of mean 1: they differ by 3/2, beyond 1, and by -1/4.
    student, teacher = torch.tensor([[0.0], [2.0], [1.0]]), torch.tensor([[0.0], [0.0], [1.0]])
    expected = 2 * (3 / 2 - 1 / 2 + 2 * (1 / 4) ** 2 / 2) / 9
    assert distance_relation(student, teacher).item() == pytest.approx(expected)


def test_angles_of_a_right_triangle_and_a_line():
    # At each point the cosine of the other two, each twice among 27; 0, 3/5, 4/5 against -1, 1, 1.
    differences = (0 + 1, 3 / 5 - 1, 4 / 5 - 1)
    expected = 2 * sum(d**2 / 2 for d in differences) / 27
    assert angle_relation(RIGHT, LINE).item() == pytest.approx(expected)
    opposite = torch.tensor([[1.0], [0.0], [1.0]]), torch.tensor([[1.0], [0.0], [-1.0]])
    # 1, 0, 0 against -1, 1, 1, beyond 1 linear; and from one equal point to the other there is no
    # direction, where the teacher has one and so a cosine of 1 with itself.
    assert angle_relation(*opposite).item() == pytest.approx((2 * (1.5 + 0.5 + 0.5) + 2 * 0.5) / 27)


def test_only_the_first_rows_angles_are_looked_at():
    student, teacher = rows(0, 9), rows(1, 9)
    found = angle_relation(student, teacher, at_most=6)
    torch.testing.assert_close(found, angle_relation(student[:6], teacher[:6]))
    assert found != angle_relation(student, teacher)
    assert angle_relation(rows(0, 70), rows(1, 70)) == angle_relation(
        rows(0, 70)[:64], rows(1, 70)[:64]
    )


def test_similarities_are_products_whose_rows_have_length_one():
    student, teacher = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.eye(2)
    root = 5**0.5  # products 1, 1 and 1, 2
    differences = (1 / 2**0.5 - 1, 1 / 2**0.5, 1 / root, 2 / root - 1)
    expected = sum(d**2 for d in differences) / 4
    assert similarity_preserving(student, teacher).item() == pytest.approx(expected)


@few
@given(seeds, st.floats(0, 1))
def test_the_series_of_the_kernel_goes_to_the_gaussian(seed, gamma):
    student, teacher = rows(seed), rows(seed + 1, dimensions=4)

    def gaussian(embeddings):
        unit = F.normalize(embeddings, dim=1)
        return (-gamma * (unit[:, None] - unit).square().sum(-1)).exp()

    expected = F.mse_loss(gaussian(student), gaussian(teacher))
    found = correlation_congruence(student, teacher, gamma=gamma, order=20)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-12)


def test_the_kernel_of_second_order_by_hand():
    student, teacher = torch.tensor([[2.0, 0.0], [3.0, 4.0]]), torch.eye(2)
    series = math.exp(-0.8) * (0.8 * 0.6 + (0.8 * 0.6) ** 2 / 2)  # cosine 3/5 against 0
    found = correlation_congruence(student, teacher)
    assert found.item() == pytest.approx(2 * series**2 / 4)
    with pytest.raises(DfkdError, match="at least 1, not 0"):
        correlation_congruence(student, teacher, order=0)


# What they do not depend on


@every
@few
@given(seed=seeds)
def test_it_is_positive_zero_for_equals_and_blind_to_rotation_and_order(loss, seed):
    student, teacher = rows(seed), rows(seed + 1, dimensions=4)
    found = loss(student, teacher)
    assert found > 0
    assert loss(student @ rotation(seed), student) < 1e-12
    torch.testing.assert_close(loss(student @ rotation(seed), teacher), found)
    torch.testing.assert_close(loss(student, teacher @ rotation(seed, 4)), found)
    torch.testing.assert_close(loss(teacher, student), found)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(loss(student[order], teacher[order]), found)
    assert loss(student.roll(1, 0), student) > 0  # but it knows which image is which


@every
@few
@given(seed=seeds, scale=scales, shift=st.floats(-10, 10))
def test_it_is_blind_to_scale_and_of_distances_and_angles_to_translation(loss, seed, scale, shift):
    student, teacher = rows(seed), rows(seed + 1, dimensions=4)
    found = loss(student, teacher)
    torch.testing.assert_close(loss(scale * student, teacher), found)
    torch.testing.assert_close(loss(student, scale * teacher), found)
    if loss in (distance_relation, angle_relation):
        torch.testing.assert_close(loss(student + shift, teacher - shift), found)


# Gradients


@every
def test_gradients(loss):
    student, teacher = rows(0).requires_grad_(), rows(1, dimensions=4).requires_grad_()
    assert gradcheck(loss, (student, teacher))


def test_gradients_of_other_orders_and_rows():
    student, teacher = rows(0).requires_grad_(), rows(1)
    assert gradcheck(partial(correlation_congruence, gamma=1.5, order=3), (student, teacher))
    assert gradcheck(partial(angle_relation, at_most=4), (student, teacher))


@every
def test_descending_brings_the_student_nearer(loss):
    student, teacher = rows(2).requires_grad_(), rows(3)
    before = loss(student, teacher)
    (gradient,) = torch.autograd.grad(before, student)
    assert loss(student - 0.1 * gradient, teacher) < before


@every
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_points_have_small_gradients(loss, count, value):
    student = torch.full((count, 3), value)
    student[2:, 0] += 1  # the first two, or all there are, in one place
    student.requires_grad_()
    found = loss(student, rows(0, count).float())
    found.backward()
    assert found.isfinite()
    assert student.grad.norm() < 10
    if count == 1 and (value or loss in (distance_relation, angle_relation)):
        assert found < 1e-12
        assert student.grad.norm() < 1e-6


@every
@pytest.mark.parametrize("length", [1e-30, 1e-14, 1e-8])
def test_points_that_all_but_meet_have_finite_gradients(loss, length):
    # An image that comes twice differs from itself by rounding; a dead unit by less.
    student = torch.tensor([[0.0, 0.0], [length, 0.0], [1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    found = loss(student, rows(0, 4).float())
    found.backward()
    assert found.isfinite()
    assert student.grad.isfinite().all()


@every
@pytest.mark.parametrize("kind", ["narrow", "autocast"])
def test_narrow_floats(loss, kind):
    student, teacher = rows(0).float(), rows(1).float()
    if kind == "narrow":
        found = loss(student.bfloat16(), teacher.bfloat16())
    else:
        with torch.autocast("cpu", torch.bfloat16):
            found = loss(student, teacher)
    torch.testing.assert_close(found.float(), loss(student, teacher), rtol=0.1, atol=1e-3)


@every
@pytest.mark.parametrize("shape", [(1, 3), (4, 3, 1), (4,)])
def test_refuses_other_images_and_maps(loss, shape):
    with pytest.raises(DfkdError, match="N x D embeddings"):
        loss(torch.ones(4, 3), torch.ones(shape))
    with pytest.raises(DfkdError, match="N x D embeddings"):
        loss(torch.ones(shape), torch.ones(4, 3))
