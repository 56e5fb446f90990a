"""Pictures of few rows and of many channels: wrapped, and said which channels are seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dfkd.report.animation import write_animation
from dfkd.report.grid import PAGE, write_grid, write_images
from dfkd.report.thumbnails import thumbnails
from dfkd.report.wrapped import LONGEST_SIDES, wrapped


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 3000), st.booleans())
def test_every_pixel_is_there_once_and_in_its_order(height: int, width: int, tall: bool) -> None:
    height, width = sorted((height, width))
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 1), dtype=np.uint8)
    page = wrapped(picture.transpose(1, 0, 2) if tall else picture)
    if width <= LONGEST_SIDES * height:
        assert page.shape == ((width, height, 1) if tall else picture.shape)
        return
    assert max(page.shape[:2]) <= 3 * min(page.shape[:2]) + height + 1
    rows = [page[top : top + height] for top in range(0, len(page), height + 1)]
    assert (np.concatenate(rows, axis=1)[:, :width] == picture).all()


@pytest.mark.parametrize("shape", [(1, 1, 1024), (1, 16, 7500), (2, 7500, 16), (6, 1, 128)])
def test_long_images_fit_a_page(shape: tuple[int, int, int], tmp_path: Path) -> None:
    images = torch.rand(6, *shape)
    grid = Image.open(write_grid(tmp_path / "grid.png", images, ["a"] * 6))
    assert grid.width <= 2 * PAGE
    assert grid.height <= 4 * PAGE
    frames = (images[None].repeat(3, 1, 1, 1, 1) * 255).byte()
    animation = Image.open(write_animation(tmp_path / "animation.png", frames))
    assert max(animation.size) <= PAGE
    assert len(thumbnails(images, ["a"] * 6)) == 6


def test_single_files_keep_their_size_for_whoever_reads_them_again(tmp_path: Path) -> None:
    images = torch.rand(2, 1, 1, 1024)
    for path in write_images(tmp_path, images, [0, 1]):
        assert Image.open(path).size == (1024, 1)


def test_it_is_said_which_channels_are_seen() -> None:
    titles = [thumbnails(torch.rand(1, n, 8, 8), ["a"])[0].title for n in (1, 2, 3, 13)]
    assert titles == ["a", "a (the first of 2 channels)", "a", "a (the first 3 of 13 channels)"]
