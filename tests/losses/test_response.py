"""The decoupled divergence: its two parts, and the whole that they make up."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from dfkd.errors import DfkdError
from dfkd.losses.response import decoupled, kl_divergence, l1_logits, mse_logits

seeds = st.integers(0, 2**31)
few = settings(max_examples=25, deadline=None)


def case(seed: int, samples: int = 4, classes: int = 5) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 3 * torch.randn((2, samples, classes), generator=generator).double()
    targets = torch.randint(classes, (samples,), generator=generator)
    return student.requires_grad_(), teacher.requires_grad_(), targets


def test_the_two_parts_by_hand():
    """Teacher 1/2, 1/3, 1/6 against student 1/4, 1/4, 1/2; the first class is the target."""
    teacher, student = (
        torch.tensor([p]).log() for p in ([3 / 6, 2 / 6, 1 / 6], [1 / 4, 1 / 4, 2 / 4])
    )
    target = torch.tensor([0])
    of_target = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    of_others = 2 / 3 * math.log(2 / 3 / (1 / 3)) + 1 / 3 * math.log(1 / 3 / (2 / 3))
    for alpha, beta in ((1, 0), (0, 1), (2, 3)):
        found = decoupled(student, teacher, target, alpha=alpha, beta=beta, temperature=1)
        assert found.item() == pytest.approx(alpha * of_target + beta * of_others, rel=1e-5)
    twice = decoupled(torch.cat([student, 5 * student]), torch.cat([teacher, 5 * student]),
                      torch.tensor([0, 2]), alpha=1, beta=1, temperature=1)  # fmt: skip
    assert twice.item() == pytest.approx((of_target + of_others) / 2, rel=1e-5)


@few
@given(seeds, st.floats(0.5, 20))
def test_weighed_by_what_the_teacher_leaves_the_others_it_is_the_plain_divergence(
    seed, temperature
):
    """Zhao et al., eq. 7, one sample at a time, as the weight is each sample's own."""
    student, teacher, targets = case(seed)
    p = (teacher.detach() / temperature).softmax(1).gather(1, targets[:, None])[:, 0]
    parts = [
        decoupled(s[None], t[None], y[None], alpha=1, beta=1 - float(p_t), temperature=temperature)
        for s, t, y, p_t in zip(student, teacher, targets, p, strict=True)
    ]
    whole = kl_divergence(student, teacher, temperature=temperature, reduction="none")
    torch.testing.assert_close(torch.stack(parts), whole)


@few
@given(seeds, st.floats(-50, 50))
def test_it_is_positive_zero_only_for_equals_and_blind_to_shifts(seed, shift):
    student, teacher, targets = case(seed)
    loss = decoupled(student, teacher, targets)
    assert loss > 0
    assert decoupled(teacher + shift, teacher, targets).abs() < 1e-11
    shifted = decoupled(student + shift, teacher - shift, targets)
    torch.testing.assert_close(shifted, loss, rtol=1e-9, atol=1e-11)


@few
@given(seeds)
def test_it_knows_no_order_of_classes(seed):
    student, teacher, targets = case(seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    found = decoupled(student[:, order], teacher[:, order], order.argsort()[targets])
    torch.testing.assert_close(found, decoupled(student, teacher, targets))


def test_of_two_classes_the_others_say_nothing():
    student, teacher, targets = case(0, classes=2)
    alone = decoupled(student, teacher, targets, alpha=0, beta=8)
    (gradient,) = torch.autograd.grad(alone, student)
    assert alone == 0
    assert not gradient.any()
    torch.testing.assert_close(
        decoupled(student, teacher, targets), kl_divergence(student, teacher)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_sure_networks_stay_finite_in_every_type(dtype):
    student = torch.tensor([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [1e4, 0.0, 0.0]], dtype=dtype)
    loss = decoupled(student, teacher, torch.tensor([0, 0]), temperature=1)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    assert student.grad[0, 0] > 0  # the teacher is sure that it is not the first class
    assert student.grad[1, 0] < 0  # and here that it is


def test_gradients():
    student, teacher, targets = case(3)
    assert gradcheck(lambda s, t: decoupled(s, t, targets), (student, teacher))
    assert gradcheck(lambda s: decoupled(s, teacher[:, :2], targets % 2), student[:, :2])


def test_refuses_what_would_broadcast_and_a_single_class():
    logits, targets = torch.zeros(4, 10), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(DfkdError, match="one shape"):
        decoupled(logits, logits[:1], targets)
    for shape, wrong in ((logits, targets[:1]), (logits, logits), (logits[:, :1], targets)):
        with pytest.raises(DfkdError, match="two classes or more and N targets"):
            decoupled(shape, shape, wrong)


@pytest.mark.parametrize("loss", [kl_divergence, l1_logits, mse_logits])
def test_rows_without_weight_do_not_count(loss):
    student, teacher = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([1.0, 1, 1, 0, 0, 0])
    torch.testing.assert_close(
        loss(student, teacher, weight=weight), loss(student[:3], teacher[:3])
    )
    torch.testing.assert_close(loss(student, teacher, weight=torch.ones(6)), loss(student, teacher))
    assert loss(student, teacher, weight=torch.zeros(6)) == 0
