"""Bases of images: what they can represent, and that optimisers can move in them."""

import pytest
import torch

from generators.pixels import (
    ChromaPixels,
    FourierPixels,
    Pixels,
    from_opponent,
    resize,
    smooth_images,
    to_opponent,
)

SHAPE = (2, 3, 24, 16)


def photograph(shape: tuple[int, int, int, int] = SHAPE) -> torch.Tensor:
    return smooth_images(shape, torch.Generator().manual_seed(0), cells=4)


@pytest.mark.parametrize("basis", [Pixels, FourierPixels])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_full_basis_gives_back_the_images_it_starts_from(basis, channels):
    images = photograph((2, channels, 24, 15)).clamp(0.01, 0.99)
    torch.testing.assert_close(basis(images)(), images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("basis", [Pixels, ChromaPixels, FourierPixels])
def test_an_optimiser_moves_the_images_and_they_stay_in_range(basis):
    pixels = basis(photograph())
    optimizer = torch.optim.Adam(pixels.parameters(), 0.3)
    before = pixels().detach()
    for _ in range(5):
        optimizer.zero_grad()
        pixels().mul(-1).sum().backward()
        optimizer.step()
        pixels.clip_()
    images = pixels().detach()
    assert images.mean() > before.mean() + 0.1
    assert images.isfinite().all()
    assert images.min() >= -1e-6
    assert images.max() <= 1 + 1e-6


def test_chroma_pixels_keep_grey_detail_and_cannot_hold_fine_colour():
    grey = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)).expand(2, 3, 16, 16)
    torch.testing.assert_close(ChromaPixels(grey)(), grey, atol=1e-4, rtol=0)
    stripes = torch.full((1, 3, 16, 16), 0.5)
    stripes[:, 0, :, ::2], stripes[:, 1, :, ::2] = 0.8, 0.2
    stripes[:, 0, :, 1::2], stripes[:, 1, :, 1::2] = 0.2, 0.8
    shown = ChromaPixels(stripes)()
    assert (shown[:, 0] - shown[:, 1]).abs().max() < 1e-3


def test_a_cutoff_keeps_fine_colour_out_of_the_spectrum_for_good():
    noise = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    pixels = FourierPixels(noise, colour_gain=0.5, colour_cutoff=0.05)
    optimizer = torch.optim.Adam(pixels.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (pixels() * noise).sum().backward()
        optimizer.step()
    planes = to_opponent(pixels().detach())
    luminance, colour = planes[:, 0].diff(dim=2).std(), planes[:, 1].diff(dim=2).std()
    assert colour < 0.3 * luminance


def test_chroma_pixels_come_back_from_outside():
    pixels = ChromaPixels(torch.full((1, 3, 8, 8), 0.5))
    with torch.no_grad():
        pixels.luminance += 3.0
    for _ in range(3):
        pixels.clip_()
    assert pixels.luminance.max() < 0.9  # white is sqrt(3) / 2 from grey
    pixels().sum().backward()
    assert pixels.luminance.grad is not None
    assert pixels.luminance.grad.abs().min() > 0  # clipping lets gradients through


@pytest.mark.parametrize("basis", [Pixels, ChromaPixels, FourierPixels])
def test_clipping_leaves_images_in_range_alone(basis):
    pixels = basis(photograph().clamp(0.01, 0.99))
    before = [p.detach().clone() for p in pixels.parameters()]
    pixels.clip_()
    for parameter, value in zip(pixels.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), value, atol=1e-4, rtol=1e-4)


def test_opponent_colours_are_a_rotation():
    images = torch.rand(SHAPE)
    torch.testing.assert_close(from_opponent(to_opponent(images)), images, atol=1e-4, rtol=1e-4)
    grey = torch.full(SHAPE, 0.5)
    assert to_opponent(grey)[:, 1:].abs().max() < 1e-4


def test_fourier_steps_are_coarse_first():
    pixels = FourierPixels(torch.full((1, 1, 32, 32), 0.5))
    target = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    (pixels() * target).sum().backward()
    moved = FourierPixels(torch.full((1, 1, 32, 32), 0.5))
    with torch.no_grad():
        moved.spectrum -= 0.01 * pixels.spectrum.grad.sign()
        change = moved() - 0.5
    assert resize(change, 8, 8).var() > 0.5 * change.var()


def test_smooth_images_are_smooth_seeded_and_in_range():
    images, again = photograph(), photograph()
    assert torch.equal(images, again)
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.diff(dim=3).abs().mean() < 0.5 * images.std()
