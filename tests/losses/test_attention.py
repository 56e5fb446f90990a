"""Where networks look: closed forms, gradients, and what such maps must not depend on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from dfkd.errors import DfkdError
from dfkd.losses.attention import (
    attention_map,
    attention_transfer,
    class_activation_map,
    grad_cam,
    logit_gradients,
    map_distance,
)


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def test_attention_is_energy_of_length_one():
    features = torch.tensor([[[[3.0, 0.0]], [[0.0, 2.0]]]])  # energies 9 and 4, over 2 channels
    torch.testing.assert_close(attention_map(features), torch.tensor([[9.0, 4.0]]) / 97**0.5)
    other = torch.tensor([[[[1.0, 0.0]]]])
    wanted = ((9 / 97**0.5 - 1) ** 2 + 16 / 97) / 2
    assert attention_transfer(other, features).item() == pytest.approx(wanted)
    assert attention_transfer(features, features) == 0
    assert not attention_map(torch.zeros(2, 3, 4, 4)).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_attention_knows_neither_the_order_of_channels_nor_the_scale(seed, scale):
    features = maps(3, 5, 4, 2, seed=seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(attention_map(features[:, order]), attention_map(features))
    torch.testing.assert_close(attention_map(scale * features), attention_map(features))
    doubled = torch.cat([features, features], 1)  # nor how many channels there are
    torch.testing.assert_close(attention_map(doubled), attention_map(features))
    mirrored = attention_map(features.flip(3)).unflatten(1, (4, 2)).flip(2).flatten(1)
    torch.testing.assert_close(mirrored, attention_map(features))


def test_a_cam_averages_to_the_logit():
    features, head = maps(4, 3, 5, 2), nn.Linear(3, 6).double()
    classes = torch.tensor([5, 0, 2, 2])
    cam = class_activation_map(features, head.weight, classes)
    logits = head(features.mean((2, 3)))
    wanted = logits.gather(1, classes[:, None])[:, 0] - head.bias[classes]
    torch.testing.assert_close(cam.mean((1, 2)), wanted)
    with pytest.raises(DfkdError, match="3 channels"):
        class_activation_map(features, torch.zeros(6, 4), classes)


def test_gradients_are_of_the_chosen_logit_at_every_depth():
    early = maps(2, 3, 4, 4).requires_grad_()
    late = 2 * early[:, :2, ::2, ::2]
    weight = maps(5, 2, seed=1)
    logits = late.mean((2, 3)) @ weight.T
    classes = torch.tensor([4, 1])
    g_early, g_late = logit_gradients([early, late], logits, classes, create_graph=False)
    expected = (weight[classes] / 4)[:, :, None, None].expand(2, 2, 2, 2)
    torch.testing.assert_close(g_late, expected)
    torch.testing.assert_close(g_early[:, :2, ::2, ::2], 2 * expected)
    assert not g_early[:, 2].any()
    assert not g_late.requires_grad
    with pytest.raises(RuntimeError):  # the graph is freed
        torch.autograd.grad(logits.sum(), early)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_of_own_logits_alone_where_no_norm_mixes_samples(training):
    norm = nn.BatchNorm2d(3).double().train(training)
    features, weight, classes = maps(4, 3, 2, 2).requires_grad_(), maps(5, 3), torch.arange(4)

    def chosen(features):
        logits = norm(features).relu().mean((2, 3)) @ weight.T
        return logits.gather(1, classes[:, None])[:, 0]

    jacobian = torch.autograd.functional.jacobian(chosen, features)  # 4 logits x features
    own = torch.stack([jacobian[i, i] for i in range(4)])
    logits = norm(features).relu().mean((2, 3)) @ weight.T
    (found,) = logit_gradients([features], logits, classes, create_graph=False)
    torch.testing.assert_close(found, jacobian.sum(0))
    assert torch.allclose(found, own) is not training
    centred = found.sum((0, 2, 3)).abs().max() < 1e-9  # over the batch and its places
    assert bool(centred) is training


def test_grad_cam_before_a_linear_head_is_the_cam_over_its_places_where_that_is_positive():
    features, weight = maps(4, 3, 5, 2).requires_grad_(), maps(6, 3, seed=1)
    classes = torch.tensor([5, 0, 2, 2])
    logits = features.mean((2, 3)) @ weight.T
    gradients = logit_gradients([features], logits, classes, create_graph=False)
    cam = class_activation_map(features, weight, classes)
    torch.testing.assert_close(grad_cam(features, *gradients), cam.relu() / 10)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_grad_cam_is_in_units_of_the_logits_whatever_those_of_the_features(seed, scale):
    features, gradients = maps(3, 5, 4, 2, seed=seed), maps(3, 5, 4, 2, seed=seed + 1)
    scaled = grad_cam(scale * features, gradients / scale)
    torch.testing.assert_close(scaled, grad_cam(features, gradients))


def test_distance_of_maps_by_hand():
    student, teacher = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[0.0, 2.0]]])
    assert map_distance(student, teacher).item() == (9 + 4) / 2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_the_distance_of_maps_is_in_their_units_squared(seed, scale):
    student, teacher = maps(3, 4, 2, seed=seed), maps(3, 4, 2, seed=seed + 1)
    scaled = map_distance(scale * student, scale * teacher)
    torch.testing.assert_close(scaled, scale**2 * map_distance(student, teacher))


@pytest.mark.parametrize("loss", [attention_transfer, map_distance], ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("wrong", ["size", "count", "rank"])
def test_maps_of_two_sizes_do_not_broadcast(loss, wrong):
    shape = (2, 3, 4, 4) if loss is attention_transfer else (2, 4, 4)
    other = {"size": (*shape[:-1], 1), "count": (1, *shape[1:]), "rank": shape[:-1]}[wrong]
    with pytest.raises(DfkdError, match="maps of one size"):
        loss(torch.ones(shape), torch.ones(other))


def test_gradients_of_losses():
    features, teacher = maps(2, 3, 4, 2).requires_grad_(), maps(2, 2, 4, 2, seed=1)
    weight, classes = maps(5, 3, seed=2).requires_grad_(), torch.tensor([4, 1])
    assert gradcheck(attention_transfer, (features, teacher))
    assert gradcheck(lambda f, w: class_activation_map(f, w, classes), (features, weight))
    assert gradcheck(map_distance, (features[:, 0], teacher[:, 0]))


def test_a_grad_cam_is_differentiated_through_its_gradients_too():
    """Of a network that is not linear in its features, so that the gradients depend on weights."""
    images, classes = maps(3, 1, 4, 4), torch.tensor([1, 0, 1])

    def loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        features = torch.tanh(first[None, :, None, None] * images)
        logits = torch.tanh(features).square().mean((2, 3)) @ second
        gradients = logit_gradients([features], logits, classes, create_graph=True)
        return map_distance(grad_cam(features, *gradients), images[:, 0])

    weights = maps(2, seed=3).requires_grad_(), maps(2, 2, seed=4).requires_grad_()
    assert gradcheck(loss, weights)
    assert gradgradcheck(loss, weights)
