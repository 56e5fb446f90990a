"""Augmentations: per sample, seeded, differentiable, and what they say they are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from dfkd.training.augment import crop, flip, jitter

EACH = pytest.mark.parametrize(
    "augment",
    [
        lambda images, generator: jitter(images, 3, generator),
        lambda images, generator: flip(images, 0.5, generator),
        lambda images, generator: crop(images, 0.3, generator),
    ],
    ids=["jitter", "flip", "crop"],
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@EACH
def test_seeded_by_its_generator_alone(augment):
    images = torch.rand(8, 3, 6, 7)
    state = torch.get_rng_state()
    assert torch.equal(augment(images, seeded(1)), augment(images, seeded(1)))
    assert not torch.equal(augment(images, seeded(1)), augment(images, seeded(2)))
    assert torch.equal(torch.get_rng_state(), state)


@EACH
def test_every_image_gets_its_own_draw(augment):
    images = torch.rand(1, 3, 6, 7).repeat(32, 1, 1, 1)
    made = augment(images, seeded())
    assert len({image.numpy().tobytes() for image in made}) > 1


@EACH
def test_differentiable(augment):
    images = torch.rand((3, 1, 4, 5), dtype=torch.double, requires_grad=True)
    assert gradcheck(lambda x: augment(x, seeded()), images)


@EACH
def test_works_without_a_generator_and_on_meta(augment):
    assert augment(torch.rand(2, 3, 6, 6), None).shape == (2, 3, 6, 6)
    assert augment(torch.empty((2, 3, 6, 6), device="meta"), None).device.type == "meta"


@EACH
def test_size_type_and_range_stay(augment):
    images = torch.rand(16, 3, 6, 7)
    made = augment(images, seeded())
    assert made.shape == images.shape
    assert made.dtype == images.dtype
    assert made.min() >= images.min()
    assert made.max() <= images.max()


def test_nothing_to_do_leaves_images_and_generator_alone():
    images, generator = torch.rand(2, 3, 4, 4), seeded()
    state = generator.get_state()
    for made in (
        jitter(images, 0, generator),
        flip(images, 0, generator),
        crop(images, 1, generator),
    ):
        assert made is images
    assert torch.equal(generator.get_state(), state)


def test_jitter_rolls_each_image_within_its_bounds():
    images = torch.arange(9 * 11.0).view(1, 1, 9, 11).repeat(400, 1, 1, 1)
    made = jitter(images, 2, seeded())
    shifts = []
    for image, original in zip(made, images, strict=True):
        corner = int((image == 0).nonzero()[0][1]), int((image == 0).nonzero()[0][2])
        shift = tuple((c + s // 2) % s - s // 2 for c, s in zip(corner, (9, 11), strict=True))
        assert torch.equal(image, original.roll(shift, (1, 2)))
        shifts.append(shift)
    counts = [[shift[axis] for shift in shifts].count(s) for axis in (0, 1) for s in range(-2, 3)]
    assert sum(counts) == 800  # no shift beyond the bounds
    assert min(counts) > 50  # 80 expected: every shift is as likely as the next


def test_flip_mirrors_with_its_probability():
    images = torch.rand(400, 1, 2, 3)
    assert torch.equal(flip(images, 1.0, seeded()), images.flip(-1))
    made = flip(images, 0.25, seeded())
    mirrored = (made == images.flip(-1)).all(-1).all(-1).all(-1)
    untouched = (made == images).all(-1).all(-1).all(-1)
    assert torch.equal(mirrored, ~untouched)
    assert 70 < mirrored.sum() < 130


def test_crop_shows_a_part_of_the_area_asked_for():
    # A ramp in x and y: what a crop spans of it is its size.
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij"
    )
    images = torch.stack([rows, columns]).repeat(300, 1, 1, 1)
    made = crop(images, 0.25, seeded())
    height, width = (made.flatten(2).amax(2) - made.flatten(2).amin(2)).unbind(1)
    area = height * width
    assert 0.2 < area.min() < 0.35
    assert area.max() > 0.85
    assert 0.55 < area.mean() < 0.68
    assert (height / width).max() < 1.4
    assert (width / height).max() < 1.4
    centres = made.mean((2, 3))
    assert centres.mean(0).sub(0.5).abs().max() < 0.03  # anywhere, without preference
    assert centres.std(0).min() > 0.05
    assert torch.corrcoef(centres.T)[0, 1].abs() < 0.2  # rows and columns apart


@settings(max_examples=10, deadline=None)
@given(st.floats(0.05, 0.99), st.integers(0, 1000))
def test_a_crop_of_a_constant_image_is_that_image(scale, seed):
    images = torch.full((2, 1, 5, 5), 0.75)
    torch.testing.assert_close(crop(images, scale, seeded(seed)), images)
