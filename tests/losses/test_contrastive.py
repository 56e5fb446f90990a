"""Representations told apart, the student's and the teacher's: closed forms and invariances."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from dfkd.errors import DfkdError
from dfkd.losses.contrastive import representation_contrast

seeds = st.integers(0, 2**31)
few = settings(max_examples=25, deadline=None)
NONE = torch.zeros(0, 3, dtype=torch.double)


def embeddings(seed: int, *counts: int, dimensions: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((n, dimensions), generator=generator).double() for n in counts]


def rotation(seed: int, dimensions: int = 3) -> torch.Tensor:
    return torch.linalg.qr(embeddings(seed, dimensions, dimensions=dimensions)[0])[0]


def test_by_hand_with_one_stranger_on_either_side():
    student, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    teachers, students = torch.tensor([[0.0, -3.0]]), torch.tensor([[-0.8, 0.6], [1.0, 0.0]])
    found = representation_contrast(student, teacher, teachers, students, temperature=0.5)
    own = 0.6 / 0.5  # strangers: 0 from the student's side; 0 and 0.6 from the teacher's
    to_teacher = math.log(math.exp(own) + 1) - own
    to_student = math.log(2 * math.exp(own) + 1) - own
    assert found.item() == pytest.approx(to_teacher + to_student)


@few
@given(seeds)
def test_the_other_rows_of_the_batch_count_as_remembered_ones(seed):
    student, teacher, teachers, students = embeddings(seed, 4, 4, 5, 2)
    rest = torch.arange(4)
    rows = [
        representation_contrast(
            student[i : i + 1],
            teacher[i : i + 1],
            torch.cat([teachers, teacher[rest != i]]),
            torch.cat([students, student[rest != i]]),
        )
        for i in range(4)
    ]
    found = representation_contrast(student, teacher, teachers, students)
    torch.testing.assert_close(found, torch.stack(rows).mean())


@few
@given(seeds)
def test_it_is_lowest_when_pairs_match(seed):
    (teacher,) = embeddings(seed, 6)
    matched = representation_contrast(teacher, teacher, NONE, NONE)
    for shift in range(1, 6):
        assert representation_contrast(teacher.roll(shift, 0), teacher, NONE, NONE) > matched > 0


@few
@given(seeds, st.floats(1e-3, 1e3))
def test_it_knows_no_rotation_scale_or_order_of_strangers(seed, scale):
    student, teacher, teachers, students = embeddings(seed, 4, 4, 5, 2)
    turn = rotation(seed + 1)
    loss = representation_contrast(student, teacher, teachers, students)
    turned = representation_contrast(
        scale * student @ turn, teacher @ turn, teachers.flip(0) @ turn, scale * students @ turn
    )
    torch.testing.assert_close(turned, loss)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    shuffled = representation_contrast(student[order], teacher[order], teachers, students)
    torch.testing.assert_close(shuffled, loss)
    swapped = representation_contrast(teacher, student, students, teachers)
    torch.testing.assert_close(swapped, loss)


def test_alike_it_is_the_logarithm_of_how_many_there_are():
    one = torch.ones(4, 3)
    found = representation_contrast(one, one, one, torch.ones(2, 3))
    assert found.item() == pytest.approx(math.log(8) + math.log(6))


def test_a_single_image_without_memory_says_nothing():
    student, teacher = (e.requires_grad_() for e in embeddings(0, 1, 1))
    loss = representation_contrast(student, teacher, NONE, NONE)
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


def test_strangers_of_either_side_push_their_own_side_only():
    student, teacher, teachers, students = (e.requires_grad_() for e in embeddings(1, 4, 4, 5, 2))
    representation_contrast(student, teacher, teachers, students, temperature=0.5).backward()
    step = 1e-2
    after = representation_contrast(
        student - step * student.grad, teacher, teachers, students, temperature=0.5
    )
    assert after < representation_contrast(student, teacher, teachers, students, temperature=0.5)
    without = representation_contrast(student, teacher, teachers, NONE, temperature=0.5)
    gradients = torch.autograd.grad(without, [teachers, students], allow_unused=True)
    assert gradients[0].any()
    assert gradients[1] is None


def test_gradients():
    inputs = [e.requires_grad_() for e in embeddings(2, 3, 3, 2, 4)]
    contrast = lambda *e: representation_contrast(*e, temperature=0.5)  # noqa: E731
    assert gradcheck(contrast, inputs)


@pytest.mark.parametrize("wrong", range(4))
def test_refuses_embeddings_of_two_shapes(wrong):
    given = embeddings(0, 4, 4, 2, 2)
    given[wrong] = given[wrong][:, :2]
    with pytest.raises(DfkdError, match="of one shape"):
        representation_contrast(*given)
    with pytest.raises(DfkdError, match=r"not \(4, 3\), \(6, 3\)"):
        representation_contrast(*embeddings(0, 4, 6, 2, 2))
