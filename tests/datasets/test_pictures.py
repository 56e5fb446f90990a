"""Pictures as people keep them: depth, transparency, palettes, rotation, bands; crops of one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from dfkd.datasets import load_data, load_images
from dfkd.datasets.pictures import ALPHA, Wanted, read_picture
from dfkd.errors import DfkdError
from dfkd.teacher.spec import ImageSpec
from support.methods import make_teacher

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (6, 5), dtype=np.uint8)
SIXTEEN = RANDOM.integers(0, 65536, (6, 5), dtype=np.uint16)


def wanted(channels: int, white: float | None = None, side: tuple[int, int] = (6, 5)) -> Wanted:
    return Wanted(ImageSpec(channels, *side), white)


def refused(path: Path, how: Wanted) -> str:
    with pytest.raises(DfkdError) as refusal:
        read_picture(path, how)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) <= 300
    return str(refusal.value)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_by_their_own_range(
    ending: str, channels: int, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(SIXTEEN).save(path)
    found = read_picture(path, wanted(channels))
    assert found.changes == ["have 16 bits: divided by 65535"]
    for plane in found.pixels.transpose(2, 0, 1):
        np.testing.assert_allclose(plane, SIXTEEN / 65535, atol=1e-6)
    assert "not from 0 to 255" in refused(path, wanted(channels, 255.0))


def test_floats_are_in_range_or_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = RANDOM.random((6, 5)).astype(np.float32)
    Image.fromarray(values).save(path)
    assert (read_picture(path, wanted(1)).pixels[..., 0] == values).all()
    Image.fromarray(values * 2000).save(path)
    assert "say what is white, `?max=N`" in refused(path, wanted(1))
    np.testing.assert_allclose(
        read_picture(path, wanted(1, 2000.0)).pixels[..., 0], values, atol=1e-6
    )
    Image.fromarray(values * np.nan).save(path)
    assert "numbers from nan to nan" in refused(path, wanted(1))
    Image.fromarray(SIXTEEN.astype(np.int32)).save(path)
    assert "in 32 bits: say what is white" in refused(path, wanted(1))


@given(grey=st.integers(0, 255), alpha=st.integers(0, 255), channels=st.sampled_from([1, 3]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_transparent_pictures_are_seen_on_white(
    grey: int, alpha: int, channels: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    for mode in ("LA", "RGBA"):
        colour = (grey, alpha) if mode == "LA" else (grey, grey, grey, alpha)
        Image.new(mode, (5, 6), colour).save(path)
        found = read_picture(path, wanted(channels))
        assert found.changes == [ALPHA]
        seen = grey * alpha / 255 + 255 - alpha
        np.testing.assert_allclose(found.pixels, seen, atol=1.01)


def test_modes_that_are_converted(tmp_path: Path) -> None:
    colour = Image.fromarray(RANDOM.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    for name, picture, changes in (
        ("p.png", colour.quantize(8), []),
        ("one.png", Image.fromarray(BYTES).convert("1"), []),
        ("cmyk.tif", colour.convert("CMYK"), ["were CMYK: converted to RGB"]),
        ("ycc.tif", colour.convert("YCbCr"), ["were YCbCr: converted to RGB"]),
    ):
        picture.save(tmp_path / name)
        found = read_picture(tmp_path / name, wanted(3))
        assert (found.pixels == np.asarray(picture.convert("RGB"))).all(), name
        assert found.changes == changes, name
    palette = Image.new("P", (5, 6), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "t.png", transparency=1)
    found = read_picture(tmp_path / "t.png", wanted(3))
    assert (found.pixels.min(), found.changes) == (255, [ALPHA])


def test_a_model_of_as_many_channels_takes_them_as_they_are(tmp_path: Path) -> None:
    four = RANDOM.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    Image.fromarray(four).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png", wanted(4)).pixels == four).all()
    two = four[..., :2]
    Image.merge("LA", [Image.fromarray(two[..., i]) for i in (0, 1)]).save(tmp_path / "la.png")
    assert (read_picture(tmp_path / "la.png", wanted(2)).pixels == two).all()
    Image.fromarray(four[..., :3]).save(tmp_path / "rgb.png")
    assert "has 3 channels (RGB), and the model takes 4" in refused(tmp_path / "rgb.png", wanted(4))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((8, 4, 3), np.uint8)
    upright[0, 0] = 255  # the corner that is up and left
    undo = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    picture = Image.fromarray(upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (picture if undo is None else picture.transpose(undo)).save(tmp_path / "a.png", exif=exif)
    found = read_picture(tmp_path / "a.png", wanted(3, side=(8, 4)))
    assert (found.pixels == upright).all()
    assert len(found.changes) == (orientation != 1)


@pytest.mark.parametrize("channels", [2, 4, 6, 13])
@pytest.mark.parametrize("how", ["contig", "separate", "pages"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_stacks_of_many_channels(how: str, channels: int, dtype: Any, tmp_path: Path) -> None:
    scale = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    planes = (RANDOM.random((channels, 32, 48)) * scale).astype(dtype)
    path = tmp_path / "a.tif"
    if how == "pages":
        tifffile.imwrite(path, planes, photometric="minisblack")
    else:
        held = planes if how == "separate" else planes.transpose(1, 2, 0)
        tifffile.imwrite(path, held, planarconfig=how, photometric="minisblack")
    found = read_picture(path, wanted(channels, side=(32, 48))).pixels
    if found.dtype == np.uint8:
        found = found / 255
    np.testing.assert_allclose(found.transpose(2, 0, 1), planes / scale, atol=1e-6)
    small = read_picture(path, wanted(channels, side=(16, 16))).pixels
    assert small.shape == (16, 16, channels)
    for other in (1, 3, channels + 3):
        if (other, how) not in ((1, "pages"), (3, "pages")):  # the first page alone, and said
            assert f"and the model takes {other}" in refused(path, wanted(other))


def test_a_page_that_nobody_reads_is_counted(tmp_path: Path) -> None:
    first = Image.fromarray(BYTES)
    (tmp_path / "1").mkdir()
    first.save(
        tmp_path / "1" / "a.tif", save_all=True, append_images=[Image.fromarray(255 - BYTES)]
    )
    first.save(tmp_path / "1" / "b.png")
    data = load_data(f"folder:{tmp_path}", ImageSpec(1, 6, 5))
    assert (data.images == torch.from_numpy(BYTES)).all()
    assert data.reading.notes == ("1 of 2 pictures had several frames: the first was read",)


def test_what_was_done_to_pictures_is_counted(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    for index in range(4):
        Image.fromarray(BYTES if index else SIXTEEN).save(tmp_path / "1" / f"{index}.png")
    Image.new("RGBA", (5, 6)).save(tmp_path / "1" / "4.png")
    data = load_data(f"folder:{tmp_path}", ImageSpec(1, 6, 5))
    assert set(data.reading.notes) == {
        "1 of 5 pictures have 16 bits: divided by 65535",
        f"1 of 5 pictures {ALPHA}",
    }
    assert data.images.dtype == torch.float32
    np.testing.assert_allclose(data.images[0, 0], SIXTEEN / 65535, atol=1e-6)
    np.testing.assert_allclose(data.images[1, 0], BYTES / 255, atol=1e-6)


@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (232, 224), (224, 224), (40, 32)])
def test_pictures_are_cut_as_the_models_own_transforms_cut_them(
    resize: int, crop: int, tmp_path: Path
) -> None:
    rows, columns = np.meshgrid(np.linspace(0, 255, 375), np.linspace(0, 255, 500), indexing="ij")
    picture = Image.fromarray(np.stack([rows, columns, (rows + columns) / 2], -1).astype(np.uint8))
    picture.save(tmp_path / "a.png")
    own = v2.Compose([v2.Resize(resize, antialias=True), v2.CenterCrop(crop)])
    spec = ImageSpec(3, crop, crop, crop=crop / resize)
    found = read_picture(tmp_path / "a.png", Wanted(spec)).pixels
    np.testing.assert_allclose(found, np.asarray(own(picture)), atol=2.5 if crop > 100 else 4)


BAD: dict[str, bytes] = {
    "empty": b"",
    "text": b"no picture",
    "cut": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x05",
    "tiff": b"II*\x00\x08\x00\x00\x00\xff\xff" + bytes(40),
    "tiff that loops": b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
    "big tiff": b"II+\x00\x08\x00\x00\x00" + b"\xff" * 64,
}


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_damaged_pictures_are_one_line(content: bytes, ending: str, tmp_path: Path) -> None:
    (tmp_path / f"a.{ending}").write_bytes(content)
    for channels in (1, 3, 6):
        assert "no picture that can be read" in refused(tmp_path / f"a.{ending}", wanted(channels))


def test_a_stack_that_is_damaged_or_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((6, 32, 48), np.uint8), photometric="minisblack")
    whole = path.read_bytes()
    path.write_bytes(whole[:-6000])
    assert "no picture that can be read" in refused(path, wanted(6))
    side = (40_000).to_bytes(4, "little")
    path.write_bytes(
        whole.replace((48).to_bytes(4, "little"), side).replace((32).to_bytes(4, "little"), side)
    )
    refused(path, wanted(6))


def test_crops_of_one_picture_are_foreign_and_by_seed(tmp_path: Path) -> None:
    picture = RANDOM.integers(100, 256, (90, 120, 3), dtype=np.uint8)  # nothing of it is black
    Image.fromarray(picture).save(tmp_path / "a.png")
    teacher = make_teacher(3)
    found = load_images(f"crops:{tmp_path / 'a.png'}?count=40", teacher)
    again = load_images(f"crops:{tmp_path / 'a.png'}?count=40&seed=0", teacher)
    other = load_images(f"crops:{tmp_path / 'a.png'}?count=40&seed=1", teacher)
    assert (found.images.shape, found.labels, found.foreign) == ((40, 3, 8, 8), None, True)
    assert torch.equal(found.images, again.images)
    assert not torch.equal(found.images, other.images)
    assert found.images.min() >= 90  # no black corners of turned crops
    assert len(torch.unique(found.images.flatten(1), dim=0)) == 40
    with pytest.raises(DfkdError, match="whole number from 1 on, not '0'"):
        load_images(f"crops:{tmp_path / 'a.png'}?count=0", teacher)
    with pytest.raises(DfkdError, match="foreign data"):
        load_data(f"crops:{tmp_path / 'a.png'}?count=1", teacher.spec)


def test_foreign_pictures_have_no_classes(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        Image.fromarray(BYTES).save(tmp_path / name / "a.png")
    found = load_images(f"folder:{tmp_path}?foreign=True", make_teacher())
    assert (found.images.shape, found.labels, found.foreign) == ((2, 1, 8, 8), None, True)
    with pytest.raises(DfkdError, match="no accuracy is measured"):
        load_data(f"folder:{tmp_path}?foreign=yes")
