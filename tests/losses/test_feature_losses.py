"""Features compared value by value, and the flow from one layer to the next."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from dfkd.errors import DfkdError
from dfkd.losses.feature import flow, flow_distance, hint, variational_information

seeds = st.integers(0, 2**31)
few = settings(max_examples=25, deadline=None)


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


# Hints


def test_a_hint_is_the_mean_squared_difference():
    student, teacher = torch.zeros(1, 2, 1, 2), torch.tensor([[[[1.0, 2.0]], [[0.0, 5.0]]]])
    assert hint(student, teacher).item() == (1 + 4 + 0 + 25) / 4
    assert hint(student.flatten(1), teacher.flatten(1)).item() == (1 + 4 + 0 + 25) / 4


@few
@given(seeds, st.integers(0, 23), st.floats(1e-3, 1e3))
def test_a_hint_is_zero_iff_the_features_are_equal(seed, place, change):
    teacher = maps(2, 3, 2, 2, seed=seed)
    student = teacher.clone()
    assert hint(student, teacher) == 0
    student.view(-1)[place] += change
    assert hint(student, teacher).item() == pytest.approx(change**2 / 24, rel=1e-6)


# Variational information


def test_variational_information_is_the_density_of_a_gaussian():
    mean, teacher, scale = maps(4, 3, 2, 5), maps(4, 3, 2, 5, seed=1), maps(3, seed=2)
    variance = (scale.exp() + 1).log() + 1e-5
    gauss = torch.distributions.Normal(mean, variance.sqrt()[:, None, None])
    expected = -gauss.log_prob(teacher).mean() - math.log(2 * math.pi) / 2
    torch.testing.assert_close(variational_information(mean, scale, teacher), expected)
    vectors = variational_information(mean[..., 0, 0], scale, teacher[..., 0, 0])
    ones = variational_information(mean[..., :1, :1], scale, teacher[..., :1, :1])
    torch.testing.assert_close(vectors, ones)


@few
@given(seeds)
def test_the_best_variance_of_a_channel_is_its_mean_squared_error(seed):
    mean, teacher = maps(4, 3, 2, 2, seed=seed), maps(4, 3, 2, 2, seed=seed + 1)
    error = (teacher - mean).square().mean((0, 2, 3)) - 1e-5
    best = torch.expm1(error).log()
    least = variational_information(mean, best, teacher)
    for step in (-0.1, 0.1):
        assert variational_information(mean, best + step, teacher) > least
    nearer = variational_information(0.5 * (mean + teacher), best, teacher)
    assert nearer < least


def test_a_channel_told_exactly_stays_finite():
    mean = torch.ones(2, 3, 4, 4, requires_grad=True)
    scale = torch.full((3,), -200.0, requires_grad=True)
    loss = variational_information(mean, scale, torch.ones(2, 3, 4, 4))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(1e-5) / 2)
    assert mean.grad.isfinite().all()
    assert scale.grad.isfinite().all()


# Flow


def test_flow_by_hand_with_the_larger_map_pooled():
    first = torch.tensor([[[[1.0, 5.0, 0.0, 2.0], [3.0, 4.0, 1.0, 0.0]]]])
    second = torch.tensor([[[[1.0, 1.0]], [[0.0, -3.0]]]])
    expected = torch.tensor([[[(5 + 2) / 2, -6 / 2]]])  # maxima of cells: 5 and 2
    torch.testing.assert_close(flow(first, second), expected)
    torch.testing.assert_close(flow(second, first), expected.mT)
    tall, wide = maps(2, 3, 4, 2), maps(2, 5, 2, 4, seed=1)
    pooled = flow(F.max_pool2d(tall, (2, 1)), F.max_pool2d(wide, (1, 2)))
    torch.testing.assert_close(flow(tall, wide), pooled)


@few
@given(seeds, st.floats(1e-3, 1e3))
def test_flow_knows_no_order_of_places_and_scales_with_either_layer(seed, scale):
    first, second = maps(2, 3, 4, 2, seed=seed), maps(2, 5, 4, 2, seed=seed + 1)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    mixed = (layer.flatten(2)[..., order].unflatten(2, (4, 2)) for layer in (first, second))
    torch.testing.assert_close(flow(*mixed), flow(first, second))
    torch.testing.assert_close(flow(scale * first, second), scale * flow(first, second))
    torch.testing.assert_close(flow(first, scale * second), scale * flow(first, second))
    larger = [layer.repeat_interleave(2, -1) for layer in (first, second)]
    torch.testing.assert_close(flow(*larger), flow(first, second))  # nor how many places there are


def test_flow_distance_is_the_mean_squared_difference_at_any_size():
    layers = [
        maps(2, 3, 4, 4),
        maps(2, 5, 2, 2, seed=1),
        maps(2, 3, 8, 8),
        maps(2, 5, 4, 4, seed=2),
    ]
    student, teacher = flow(*layers[:2]), flow(*layers[2:])
    expected = (student - teacher).square().sum() / (2 * 3 * 5)
    torch.testing.assert_close(flow_distance(*layers), expected)
    assert flow_distance(*layers[:2], *layers[:2]) == 0


# Gradients and refusals


def test_gradients():
    student, teacher = maps(2, 3, 4, 2).requires_grad_(), maps(2, 3, 4, 2, seed=1)
    second, scale = maps(2, 2, 2, 2, seed=2).requires_grad_(), maps(3, seed=3).requires_grad_()
    assert gradcheck(hint, (student, teacher))
    assert gradcheck(variational_information, (student, scale, teacher))
    assert gradcheck(flow_distance, (student, second, teacher, maps(2, 2, 4, 1, seed=4)))


@pytest.mark.parametrize("shape", [(2, 3, 4, 1), (1, 3, 4, 4), (2, 4, 4, 4), (2, 3, 4)])
def test_features_of_two_shapes_do_not_broadcast(shape):
    features, other = torch.ones(2, 3, 4, 4), torch.ones(shape)
    with pytest.raises(DfkdError, match="features of one shape"):
        hint(features, other)
    with pytest.raises(DfkdError, match="features of one shape"):
        variational_information(features, torch.ones(3), other)


def test_refuses_scales_of_other_channels():
    features = torch.ones(2, 3, 4, 4)
    for scale in (torch.ones(1), torch.ones(4), torch.ones(3, 1)):
        with pytest.raises(DfkdError, match="one scale for each of the 3 channels"):
            variational_information(features, scale, features)


def test_flow_refuses_other_images_and_other_channels():
    one = torch.ones(2, 3, 4, 4)
    for other in (one[:1], one[0], one.flatten(1)):
        with pytest.raises(DfkdError, match="of the same images"):
            flow(one, other)
    with pytest.raises(DfkdError, match=r"not \(2, 3, 3\) and \(2, 3, 1\)"):
        flow_distance(one, one, one, one[:, :1])
    with pytest.raises(DfkdError, match="as many images and channels"):
        flow_distance(one, one, one[:1], one[:1])
