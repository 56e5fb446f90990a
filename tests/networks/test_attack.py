"""Attacks: where they may go, how far they get, and what they must leave alone."""

import copy
import doctest
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import dfkd.networks.attack
from dfkd.datasets import LabelledImages
from dfkd.errors import DfkdError
from dfkd.evaluation.robustness import robust_accuracy
from dfkd.networks.attack import pgd
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 1))


def curved(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 3))


def pixels(seed: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(5, 3, 2, 2, generator=rng(seed))


def test_the_example_is_true():
    result = doctest.testmod(dfkd.networks.attack)
    assert result.attempted
    assert not result.failed


@few
@given(seeds, st.floats(0, 1), st.floats(0, 1), st.integers(0, 4), st.booleans())
def test_images_stay_in_the_ball_and_are_images(seed, epsilon, step_size, steps, random_start):
    images = pixels(seed)
    moved = pgd(
        curved(),
        images,
        lambda logits: logits.square().sum(1),
        epsilon=epsilon,
        step_size=step_size,
        steps=steps,
        generator=rng(seed),
        random_start=random_start,
    )
    assert moved.shape == images.shape
    assert not moved.requires_grad
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert (moved - images).abs().max() <= epsilon + 1e-6


@few
@given(seeds, st.floats(0.01, 0.2), st.integers(1, 6), st.booleans())
def test_a_linear_loss_is_brought_to_its_optimum(seed, epsilon, steps, random_start):
    network, images = linear(seed % 5), pixels(seed, 0.25, 0.75)
    sign = network[1].weight.sign().view(3, 2, 2)
    moved = pgd(
        network,
        images,
        torch.mean,
        epsilon=epsilon,
        step_size=2.001 * epsilon / steps,  # from one side of the ball to the other
        steps=steps,
        generator=rng(seed),
        random_start=random_start,
    )
    torch.testing.assert_close(moved, images + epsilon * sign)


@few
@given(seeds, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_linear_loss_never_falls(seed, epsilon, step_size):
    network, images = linear(seed % 5), pixels(seed)
    losses = [
        network(
            pgd(
                network,
                images,
                torch.sum,
                epsilon=epsilon,
                step_size=step_size,
                steps=steps,
                generator=rng(seed),
            )
        )
        for steps in range(4)
    ]
    for before, after in pairwise(losses):
        assert (after >= before - 1e-6).all()


def test_one_step_of_epsilon_from_the_image_is_fgsm():
    network, images, labels = curved(), pixels().requires_grad_(), torch.tensor([0, 1, 2, 0, 1])
    (gradient,) = torch.autograd.grad(F.cross_entropy(network(images), labels), images)
    expected = (images + 0.1 * gradient.sign()).clamp(0, 1).detach()
    found = pgd(
        network,
        images,
        lambda logits: F.cross_entropy(logits, labels),
        epsilon=0.1,
        step_size=0.1,
        steps=1,
        random_start=False,
    )
    torch.testing.assert_close(found, expected)


def attacked(network, images, **changes) -> Tensor:
    settings = {"epsilon": 0.1, "step_size": 0.03, "steps": 3, "generator": rng(1)} | changes
    return pgd(network, images, lambda logits: logits.square().sum(), **settings)


def test_the_generator_decides_and_the_global_state_stays():
    network, images = curved(), pixels()
    state = torch.get_rng_state()
    one, twin, other = (attacked(network, images, generator=rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, twin)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    one = attacked(network, images, generator=None)
    torch.manual_seed(7)
    assert torch.equal(attacked(network, images, generator=None), one)


def test_no_step_leaves_the_random_start_and_not_even_that_the_images():
    images = pixels(0, 0.3, 0.7)
    started = attacked(None, images, steps=0, epsilon=0.2) - images
    assert started.abs().max() <= 0.2
    assert started.min() < -0.1
    assert started.max() > 0.1
    same = attacked(None, images, steps=0, random_start=False)
    torch.testing.assert_close(same, images, atol=0, rtol=0)
    assert same.data_ptr() != images.data_ptr()


def test_network_images_and_gradients_are_left_alone():
    network = nn.Sequential(curved(), nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    images = pixels().requires_grad_()
    state, before = copy.deepcopy(network.state_dict()), images.detach().clone()
    attacked(network, images)
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert images.grad is None
    assert torch.equal(images, before)
    assert all(torch.equal(v, state[key]) for key, v in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    attacked(network.train(), images)
    assert all((p.grad == 1).all() for p in network.parameters())
    assert all(module.training for module in network.modules())


def test_frozen_networks_and_callers_without_gradients():
    network, images = curved(), pixels()
    expected = attacked(network, images)
    with torch.no_grad():
        assert torch.equal(attacked(network, images), expected)
        assert not torch.is_grad_enabled()
    assert torch.equal(attacked(network.requires_grad_(False), images), expected)


@pytest.mark.parametrize(
    "change", [{"epsilon": -0.1}, {"epsilon": float("nan")}, {"step_size": -1.0}, {"steps": -1}]
)
def test_impossible_attacks(change):
    with pytest.raises(DfkdError, match="of at least 0, not"):
        attacked(curved(), pixels(), **change)


# Accuracy under attack

SPEC = ImageSpec(1, 1, 2, (0.5,), (0.25,))
MARGINS = (0.1, 0.3, 0.5, -0.2)


class Brighter(nn.Module):
    """Says which of two pixels is brighter, in eval mode: a batch-norm and a dropout get in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        return 4 * self.dropout(self.norm(x)).flatten(1)


def by_margin() -> LabelledImages:
    """Images whose right pixel (the label's) is brighter by ``MARGINS``, around the middle."""
    first, second = torch.zeros(2, len(MARGINS))
    labels = torch.arange(len(MARGINS)) % 2
    margins = torch.tensor(MARGINS) * (2 * labels - 1)
    first, second = 0.5 - margins / 2, 0.5 + margins / 2
    images = torch.stack([first, second], 1).view(-1, 1, 1, 2)
    return LabelledImages((255 * images).round().to(torch.uint8), labels, "by hand")


@pytest.mark.parametrize(
    ("epsilon", "expected"), [(0.0, 0.75), (0.04, 0.75), (0.1, 0.5), (0.2, 0.25), (0.3, 0.0)]
)
@pytest.mark.parametrize("steps", [1, 20])
def test_a_linear_network_withstands_half_its_margin(epsilon, expected, steps):
    network = Brighter()
    options = {"step_size": 2 * epsilon} if steps == 1 else {}
    found = robust_accuracy(network, SPEC, by_margin(), epsilon=epsilon, steps=steps, **options)
    assert found == expected


@pytest.mark.parametrize(("epsilon", "expected"), [(0.0, 1.0), (0.1, 0.5), (0.3, 0.0)])
def test_the_network_sees_normalised_images_and_epsilon_is_in_pixels(epsilon, expected):
    above = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():  # class 1 iff the first pixel is above the spec's mean, 0.5
        above[1].weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    first = torch.tensor([0.3, 0.45, 0.55, 0.7])
    images = torch.stack([first, torch.zeros(4)], 1).view(-1, 1, 1, 2)
    labels = torch.tensor([0, 0, 1, 1])
    data = LabelledImages((255 * images).round().to(torch.uint8), labels, "by hand")
    assert robust_accuracy(above, SPEC, data, epsilon=epsilon) == expected


def test_modes_buffers_and_gradients_survive_the_measurement():
    network = Brighter().train()
    network.norm.eval()
    state = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        robust_accuracy(network, SPEC, by_margin(), epsilon=0.1, batch_size=3)
    assert network.training
    assert network.dropout.training
    assert not network.norm.training
    assert all(torch.equal(v, state[key]) for key, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_batches_and_count():
    network = Brighter()
    found = [
        robust_accuracy(network, SPEC, by_margin(), epsilon=0.1, batch_size=size)
        for size in (1, 3, 256)
    ]
    assert found == [0.5, 0.5, 0.5]
    assert robust_accuracy(network, SPEC, by_margin(), epsilon=0.1, count=3) == 2 / 3
    assert robust_accuracy(network, SPEC, by_margin(), epsilon=0.1, count=99) == 0.5


def test_a_random_start_alone_depends_on_the_seed():
    data = by_margin()
    many = LabelledImages(data.images[:1].repeat(400, 1, 1, 1), data.labels[:1].repeat(400), "one")
    one, twin, other = (
        robust_accuracy(Brighter(), SPEC, many, epsilon=0.2, steps=0, seed=seed)
        for seed in (0, 0, 1)
    )
    assert one == twin
    assert one != other
    # Two uniform errors within 0.2: their difference exceeds the margin 0.1 with this chance.
    assert one == pytest.approx(1 - (0.3 / 0.4) ** 2 / 2, abs=0.08)


def test_a_teacher_is_attacked_as_its_network():
    teacher = Teacher(Brighter(), SPEC, ("left", "right"))
    assert robust_accuracy(teacher, SPEC, by_margin(), epsilon=0.1) == 0.5
    assert not teacher.network.training


def test_what_cannot_be_measured_is_refused():
    data = by_margin()
    wrong = LabelledImages(data.images, data.labels + 6, "wrong")
    with pytest.raises(DfkdError, match="has label 7 and the model has 2 classes"):
        robust_accuracy(Brighter(), SPEC, wrong, epsilon=0.1)
    wider = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(DfkdError, match="holds 1x1x2 images and the model takes 1x2x2"):
        robust_accuracy(wider, ImageSpec(1, 2, 2), data, epsilon=0.1)
    with pytest.raises(DfkdError, match="count must be at least 1"):
        robust_accuracy(Brighter(), SPEC, data, epsilon=0.1, count=0)
    with pytest.raises(DfkdError, match="of at least 0"):
        robust_accuracy(Brighter().train(), SPEC, data, epsilon=-0.1)
