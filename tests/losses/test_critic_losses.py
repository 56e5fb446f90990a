"""What critic and student minimise: closed forms, gradients, and that they pull apart."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from dfkd.errors import DfkdError
from dfkd.losses.critic import KINDS, critic_accuracy, critic_loss, fooling_loss

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)
every = pytest.mark.parametrize("kind", KINDS)


def scores(seed: int, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    real, fake = 2 * torch.randn((2, count), generator=generator, dtype=torch.double)
    return real.requires_grad_(), fake.requires_grad_()


def gradients(fake: torch.Tensor, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Of what the critic minimises and of what the student minimises, in the fake scores."""
    fake = fake.detach().requires_grad_()
    (critic,) = torch.autograd.grad(critic_loss(torch.ones(1), fake, kind=kind), fake)
    (student,) = torch.autograd.grad(fooling_loss(fake, kind=kind), fake)
    return critic, student


@few
@given(seeds)
def test_the_textbook_forms(seed):
    real, fake = (s.detach() for s in scores(seed))
    d_real, d_fake = real.sigmoid(), fake.sigmoid()
    expected = {
        "hinge": (
            -torch.clamp(real - 1, max=0).mean() - torch.clamp(-fake - 1, max=0).mean(),
            -fake.mean(),
        ),
        "bce": (-d_real.log().mean() - (1 - d_fake).log().mean(), -d_fake.log().mean()),
        "lsgan": (
            ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2,
            ((fake - 1) ** 2).mean() / 2,
        ),
    }
    for kind, (critic, student) in expected.items():
        torch.testing.assert_close(critic_loss(real, fake, kind=kind), critic)
        torch.testing.assert_close(fooling_loss(fake, kind=kind), student)


@every
def test_gradients(kind):
    real, fake = scores(0)
    assert gradcheck(lambda r, f: critic_loss(r, f, kind=kind), (real, fake))
    assert gradcheck(lambda f: fooling_loss(f, kind=kind), (fake,))


@every
@few
@given(seeds)
def test_critic_and_student_pull_fake_scores_apart(kind, seed):
    _, fake = scores(seed)
    if kind == "lsgan":  # between its two targets; beyond them see the next test
        fake = fake.sigmoid()
    critic, student = gradients(fake, kind)
    assert (student < 0).all()
    assert (critic >= 0).all()
    assert critic.any() or kind == "hinge"
    assert (critic * student <= 0).all()


def test_least_squares_pull_back_what_overshoots():
    critic, student = gradients(torch.tensor([-2.0, 0.5, 3.0]), "lsgan")
    assert (critic * student > 0).tolist() == [True, False, True]


@every
@few
@given(seeds)
def test_a_step_of_the_critic_tells_better_and_one_of_the_student_worse(kind, seed):
    real, fake = scores(seed)
    loss = critic_loss(real, fake, kind=kind)
    ups = torch.autograd.grad(loss, (real, fake))
    assert critic_loss(real - 0.1 * ups[0], fake - 0.1 * ups[1], kind=kind) <= loss
    fooled = fooling_loss(fake, kind=kind)
    (up,) = torch.autograd.grad(fooled, fake)
    assert fooling_loss(fake - 0.1 * up, kind=kind) < fooled


@pytest.mark.parametrize(
    ("kind", "score", "best"),
    [("hinge", 0.3, 2), ("bce", 0.0, 2 * math.log(2)), ("lsgan", 0.5, 0.25)],
)
def test_what_a_critic_that_cannot_tell_has_at_best(kind, score, best):
    same = torch.tensor([score, score])
    assert critic_loss(same, same, kind=kind).item() == pytest.approx(best)
    for other in (score - 2, score + 2):
        worse = torch.tensor([other])
        assert critic_loss(worse, worse, kind=kind) > best


def test_large_scores_stay_finite():
    far = torch.tensor([200.0], requires_grad=True)
    loss = critic_loss(-far, far, kind="bce") + fooling_loss(-far, kind="bce")
    loss.backward()
    assert loss.item() == 600
    assert far.grad.item() == 3


@every
def test_halves_may_differ_in_number(kind):
    real, fake = torch.tensor([2.0]), torch.tensor([0.0, 0.0, 0.0])
    assert critic_loss(real, fake, kind=kind) == critic_loss(real, fake[:1], kind=kind)


@pytest.mark.parametrize(("kind", "threshold"), [("hinge", 0.0), ("bce", 0.0), ("lsgan", 0.5)])
def test_accuracy_counts_around_the_threshold(kind, threshold):
    real = threshold + torch.tensor([1.0, 0.25, -0.25, 2.0])
    fake = threshold + torch.tensor([-1.0, 0.25])
    assert critic_accuracy(real, fake, kind=kind) == (3 / 4 + 1 / 2) / 2
    # One score for all tells nothing, on the threshold too and whatever the numbers.
    for constant in (threshold - 1, threshold, threshold + 1):
        same = torch.full((6,), constant)
        assert critic_accuracy(same[:1], same, kind=kind) == 0.5
    assert critic_accuracy(torch.full((2,), math.nan), torch.full((2,), math.nan), kind=kind) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda kind: critic_loss(torch.zeros(1), torch.zeros(1), kind=kind),
        lambda kind: fooling_loss(torch.zeros(1), kind=kind),
        lambda kind: critic_accuracy(torch.zeros(1), torch.zeros(1), kind=kind),
    ],
)
def test_an_unknown_kind(call):
    with pytest.raises(DfkdError, match="no kind of critic 'hinges'; did you mean 'hinge'"):
        call("hinges")
    with pytest.raises(DfkdError, match="choose from bce, hinge, lsgan"):
        call("wasserstein-gp")
