"""The entropy of patches' similarities, against distributions whose entropy is known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfkd.losses.patches import (
    MOST_ENTROPY,
    density,
    differential_entropy,
    pair_similarities,
    patch_entropy,
)

WIDTH = 2 / 63


def entropy(values: torch.Tensor) -> float:
    return float(differential_entropy(density(values), WIDTH)[0])


def test_even_similarities_have_the_most_entropy():
    assert entropy(torch.linspace(-1, 1, 4001)[None]) == pytest.approx(MOST_ENTROPY, abs=0.02)
    assert math.log(2.0) == MOST_ENTROPY


@pytest.mark.parametrize("spread", [0.1, 0.2])
def test_a_gaussian_has_the_entropy_of_one_as_wide_as_the_kernel_makes_it(spread):
    quantiles = torch.distributions.Normal(0.0, spread).icdf(torch.linspace(0, 1, 4001)[1:-1])
    wide = math.hypot(spread, 0.05)
    expected = 0.5 * math.log(2 * math.pi * math.e * wide**2)
    assert entropy(quantiles.clamp(-1, 1)[None]) == pytest.approx(expected, abs=0.03)


def test_one_value_is_the_kernel_and_at_the_edge_half_of_it():
    kernel = 0.5 * math.log(2 * math.pi * math.e * 0.05**2)
    assert entropy(torch.zeros(1, 9)) == pytest.approx(kernel, abs=0.1)
    half = kernel - math.log(2.0)
    assert float(patch_entropy(torch.ones(1, 5, 3))) == pytest.approx(half, abs=0.15)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(2, 9), st.integers(1, 6), st.integers(0, 99))
def test_similarities_are_cosines_and_densities_sum_to_one(images, tokens, width, seed):
    x = torch.randn(images, tokens, width, generator=torch.Generator().manual_seed(seed))
    found = pair_similarities(x)
    pairs = [(i, j) for i in range(tokens) for j in range(i + 1, tokens)]
    expected = [torch.cosine_similarity(x[:, i], x[:, j], dim=1) for i, j in pairs]
    torch.testing.assert_close(found, torch.stack(expected, 1), atol=1e-5, rtol=1e-4)
    assert torch.allclose(density(found).sum(1) * WIDTH, torch.ones(images), atol=1e-5)
    # Neither the scale of a token nor the order of tokens matters.
    scaled = x.flip(1) * torch.linspace(0.5, 2, tokens).view(1, -1, 1)
    torch.testing.assert_close(patch_entropy(scaled), patch_entropy(x), atol=1e-4, rtol=1e-4)


def test_images_do_not_depend_on_each_other():
    x = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    alone = torch.stack([patch_entropy(one[None]) for one in x])
    assert float(patch_entropy(x)) == pytest.approx(float(alone.mean()), abs=1e-5)


def test_the_gradient_is_that_of_differences_and_makes_patches_unlike():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 7, 4, generator=generator).add(3.0).requires_grad_()
    step = torch.randn(x.shape, generator=generator)
    (gradient,) = torch.autograd.grad(patch_entropy(x), x)
    ends = [float(patch_entropy(x.detach() + sign * 1e-3 * step)) for sign in (1, -1)]
    assert (ends[0] - ends[1]) / 2e-3 == pytest.approx(float((gradient * step).sum()), rel=0.05)
    before = float(patch_entropy(x.detach()))
    optimizer = torch.optim.Adam([x], 0.05)
    for _ in range(30):
        optimizer.zero_grad()
        (-patch_entropy(x)).backward()
        optimizer.step()
    assert float(patch_entropy(x.detach())) > before + 0.3


def test_equal_and_empty_tokens_have_a_finite_gradient():
    for x in (torch.ones(1, 4, 3), torch.zeros(1, 4, 3)):
        x.requires_grad_()
        patch_entropy(x).backward()
        assert x.grad.isfinite().all()
