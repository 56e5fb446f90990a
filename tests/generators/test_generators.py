"""Decoders, conditioned decoders and re-initialisation."""

import copy
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from generators.conditional import (
    EmbeddingConditioned,
    LabelConditioned,
    NoisyLinear,
    random_orthogonal,
)
from generators.decoders import Decoder
from generators.reset import drawn, reset_all, reset_first, reset_norms


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def changed(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, v in module.state_dict().items() if not torch.equal(v, before[name])}


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(module.state_dict())


SIZES = [
    ((1, 28, 28), {}),
    ((3, 32, 32), {}),
    ((1, 8, 8), {"large": True}),
    ((3, 33, 18), {}),
    ((2, 4, 7), {"stages": 3}),
    ((3, 224, 224), {"stages": 4}),
    ((3, 224, 224), {}),
]


@pytest.mark.parametrize(("shape", "options"), SIZES)
def test_decoder_makes_images_of_every_size_in_the_unit_interval(shape, options) -> None:
    decoder = Decoder(*shape, 5, 3, **options)
    images = decoder(torch.randn(2, 5, generator=rng()))
    assert images.shape == (2, *shape)
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std() > 0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.booleans())
def test_any_size_works(channels, height, width, stages, large) -> None:
    decoder = Decoder(channels, height, width, 3, 2, large=large, stages=stages)
    assert decoder(torch.zeros(2, 3)).shape == (2, channels, height, width)


def test_parameter_counts_of_the_published_decoders() -> None:
    assert count(Decoder(3, 32, 32)) == 2_329_091  # "2.33 M"
    linear, first, last = 257 * 256 * 64, 256 * 128 * 9 + 128, 128 * 64 * 9 + 64
    norms, to_image = 2 * (256 + 128 + 64), 64 * 3 * 9 + 3
    large = Decoder(3, 32, 32, large=True)
    assert count(large) == linear + first + last + norms + to_image


def test_sizes_halve_rounding_up() -> None:
    assert Decoder(1, 30, 9, 2, 2).sizes == [(8, 3), (15, 5), (30, 9)]
    assert Decoder(1, 1, 6, 2, 2).sizes == [(1, 2), (1, 3), (1, 6)]


def test_normalized_form_has_mean_zero_and_variance_one() -> None:
    decoder = Decoder(3, 16, 16, 8, 4, normalized=True, eps=0.8)
    images = decoder(torch.randn(64, 8, generator=rng()))
    var, mean = torch.var_mean(images, (0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(var, torch.ones(3), atol=0.1, rtol=0)
    assert images.min() < 0
    assert [m.eps for m in decoder.stages.modules() if isinstance(m, nn.BatchNorm2d)] == [0.8, 0.8]


def test_affine_end_is_a_batch_norm_that_learns_scale_and_shift() -> None:
    decoder = Decoder(3, 16, 16, 8, 4, normalized=True, affine=True)
    with torch.no_grad():
        decoder.end.weight.fill_(2.0)
        decoder.end.bias.fill_(5.0)
    images = decoder(torch.randn(64, 8, generator=rng()))
    var, mean = torch.var_mean(images, (0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.full((3,), 5.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(var, torch.full((3,), 4.0), atol=0.1, rtol=0)
    assert (images - 5).abs().max() > 4  # no tanh: further out than its range could reach
    with pytest.raises(ValueError, match="form of normalized"):
        Decoder(3, 16, 16, affine=True)


@pytest.mark.parametrize("arguments", [(3, 0, 32), (0, 8, 8), (1, 8, 8, 0), (1, 8, 8, 4, 0)])
def test_decoder_refuses_impossible_sizes(arguments) -> None:
    with pytest.raises(ValueError, match="positive sizes"):
        Decoder(*arguments)


def test_noisy_linear_is_its_layers_on_consecutive_rows() -> None:
    noisy = NoisyLinear(6, 4, layers=3)
    inputs = torch.randn(8, 6, generator=rng())
    outputs = noisy(inputs)
    expected = [inputs[i] @ noisy.weight[i // 3].T + noisy.bias[i // 3, 0] for i in range(8)]
    torch.testing.assert_close(outputs, torch.stack(expected))


def test_noisy_linear_redraws_standard_normal_weights_from_the_generator() -> None:
    noisy = NoisyLinear(100, 100, layers=2)
    noisy.redraw(rng(1))
    first = noisy.weight.clone()
    assert abs(first.mean()) < 0.03
    assert abs(first.std() - 1) < 0.03
    assert not noisy.bias.any()
    noisy.redraw(rng(2))
    assert not torch.equal(noisy.weight, first)
    noisy.redraw(rng(1))
    assert torch.equal(noisy.weight, first)
    with pytest.raises(ValueError, match="at least one"):
        NoisyLinear(2, 2, 0)


def test_equal_classes_get_different_images_from_different_noisy_layers() -> None:
    model = EmbeddingConditioned(Decoder(1, 8, 8, 6, 4), random_orthogonal(3, 5, rng()), layers=4)
    targets = model.redraw(12, rng(3))
    assert torch.equal(targets.bincount(), torch.full((3,), 4))
    assert torch.equal(targets.diff() % 3, torch.ones(11, dtype=torch.long))
    images = model(targets)
    assert images.shape == (12, 1, 8, 8)
    assert not torch.allclose(images[0], images[3])


def test_label_conditioning_depends_on_the_label() -> None:
    model = LabelConditioned(Decoder(3, 8, 8, 6, 4), num_classes=5)
    latents = torch.randn(1, 6, generator=rng()).repeat(4, 1)
    images = model(latents, torch.tensor([0, 1, 1, 4]))
    assert images.shape == (4, 3, 8, 8)
    assert torch.equal(images[1], images[2])
    assert not torch.allclose(images[0], images[1])


@pytest.mark.parametrize(("classes", "dimensions"), [(3, 8), (10, 4), (6, 6)])
def test_random_orthogonal_rows_are_orthonormal(classes, dimensions) -> None:
    rows = random_orthogonal(classes, dimensions, rng())
    assert rows.shape == (classes, max(classes, dimensions))
    torch.testing.assert_close(rows @ rows.T, torch.eye(classes), atol=1e-5, rtol=0)
    assert torch.equal(rows, random_orthogonal(classes, dimensions, rng()))


def moved_decoder() -> Decoder:
    """A decoder whose every tensor differs from what any reset would draw."""
    decoder = Decoder(1, 8, 8, 6, 4)
    for value in decoder.state_dict().values():
        value += 3
    return decoder


@pytest.mark.parametrize("std", [0.02, None])
def test_resets_change_only_what_they_say(std) -> None:
    everything = set(moved_decoder().state_dict())
    norms = {n for n in everything if n.startswith("norm.") or n.split(".")[2:3] == ["1"]}
    expected = {
        reset_all: everything,
        reset_norms: norms,
        reset_first: {"project.weight", "project.bias"},
    }
    for reset, names in expected.items():
        decoder = moved_decoder()
        before = snapshot(decoder)
        reset(decoder, rng(), std)
        assert changed(decoder, before) == names
        twin = moved_decoder()
        twin.load_state_dict(before)
        reset(twin, rng(), std)
        assert not changed(twin, decoder.state_dict())


def test_reset_draws_what_it_promises() -> None:
    decoder = Decoder(3, 32, 32, 64, 16)
    reset_all(decoder, rng(), std=0.02)
    assert abs(decoder.project.weight.std() - 0.02) < 1e-3
    assert not decoder.project.bias.any()
    assert abs(decoder.norm.weight.mean() - 1) < 0.02
    assert torch.equal(decoder.norm.running_var, torch.ones(32))


def test_resets_leave_the_global_state_and_affine_free_norms_alone() -> None:
    state = torch.get_rng_state()
    module = drawn(lambda: Decoder(1, 8, 8, 6, 4, normalized=True), rng(5))
    for std in (0.02, None):
        reset_norms(module, rng(), std)
    assert torch.equal(torch.get_rng_state(), state)
    twin = drawn(lambda: Decoder(1, 8, 8, 6, 4, normalized=True), rng(5))
    assert not changed(twin, drawn(lambda: copy.deepcopy(twin), rng(5)).state_dict())
    assert changed(twin, drawn(lambda: copy.deepcopy(twin), rng(6)).state_dict())


def test_reset_refuses_parameters_that_it_cannot_draw() -> None:
    class Pixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.images = nn.Parameter(torch.zeros(1))

    with pytest.raises(ValueError, match="reset_parameters"):
        reset_all(Pixels(), rng())
    with pytest.raises(ValueError, match="no convolution"):
        reset_first(nn.BatchNorm2d(3), rng())


def test_generators_import_torch_only() -> None:
    code = (
        "import sys, generators.decoders, generators.conditional, generators.reset;"
        "print([m for m in sys.modules if m.split('.')[0] in ('dfkd', 'torchvision', 'kornia')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
