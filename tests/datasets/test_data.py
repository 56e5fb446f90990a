"""DATA URIs: what is read, and what malformed data is told."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dfkd.datasets import LabelledImages, check_fits, load_data
from dfkd.datasets.images import Assigned
from dfkd.errors import DfkdError
from dfkd.teacher.spec import ImageSpec

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 5, 4), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def idx(array: Any) -> bytes:
    header = bytes([0, 0, 8, array.ndim])
    return header + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, part: str = "t10k", compressed: bool = False) -> Path:
    for kind, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
        name = f"{part}-{kind}-ubyte" + (".gz" if compressed else "")
        data = idx(array)
        (folder / name).write_bytes(gzip.compress(data) if compressed else data)
    return folder


def write_folder(root: Path, names: tuple[str, ...], size: tuple[int, int] = (8, 6)) -> Path:
    for index, name in enumerate(names):
        (root / name).mkdir(parents=True)
        Image.new("RGB", size, (20 * index, 0, 255)).save(root / name / "picture.png")
    return root


def test_bundled_images_are_ready_to_use() -> None:
    data = load_data("bundled:digits_vgg")
    assert data.images.shape == (797, 1, 8, 8)
    assert data.images.dtype == torch.uint8
    assert data.labels.dtype == torch.int64
    assert len(data) == 797
    check_fits(data, ImageSpec(1, 8, 8), 10)


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_npz_comes_in_both_layouts(channels: int | None, dtype: Any, tmp_path: Path) -> None:
    images = IMAGES if channels is None else np.stack([IMAGES] * channels, -1)
    np.savez(tmp_path / "d.npz", images=images, labels=LABELS.astype(dtype))
    data = load_data(f"npz:{tmp_path}/d.npz")
    assert data.images.shape == (6, channels or 1, 5, 4)
    assert (data.images[:, 0].numpy() == IMAGES).all()
    assert data.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("part", ["t10k", "train"])
def test_the_mnist_layout(part: str, compressed: bool, tmp_path: Path) -> None:
    data = load_data(f"idx:{write_idx(tmp_path, part, compressed)}")
    assert (data.images[:, 0].numpy() == IMAGES).all()
    assert data.labels.tolist() == LABELS.tolist()


def test_a_folder_of_pictures_is_brought_to_size(tmp_path: Path) -> None:
    write_folder(tmp_path, ("0", "1"))
    assert load_data(f"folder:{tmp_path}").images.shape == (2, 3, 6, 8)
    data = load_data(f"folder:{tmp_path}", ImageSpec(1, 5, 5))
    assert data.images.shape == (2, 1, 5, 5)
    assert data.labels.tolist() == [0, 1]


def test_directories_are_matched_to_classes_by_name_and_by_number(tmp_path: Path) -> None:
    named = write_folder(tmp_path / "named", ("bag", "coat"))
    data = load_data(f"folder:{named}", class_names=("coat", "shoe", "bag"))
    assert data.labels.tolist() == [2, 0]
    assert data.reading.how == "name"
    assert data.reading.classes == (Assigned("bag", 2, "bag"), Assigned("coat", 0, "coat"))
    with pytest.raises(DfkdError, match="no class is called 'coat'; did you mean 'coats'"):
        load_data(f"folder:{named}", class_names=("coats", "bag"))
    numbered = write_folder(tmp_path / "numbered", ("0", "10", "2"))
    assert load_data(f"folder:{numbered}").labels.tolist() == [0, 10, 2]


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"a": IMAGES, "b": LABELS, "c": LABELS}, "holds a, b, c: say which arrays are which"),
        ({"x": IMAGES}, "has no labels"),
        ({"images": IMAGES[0], "labels": LABELS}, "must be N x H x W"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "must be N x H x W"),
        ({"images": IMAGES, "labels": LABELS[:5]}, "6 images and 5 labels"),
        ({"images": IMAGES, "labels": LABELS / 2}, "N integers"),
        ({"images": IMAGES, "labels": np.stack([LABELS] * 2, 1)}, "N integers"),
        ({"images": IMAGES, "labels": LABELS + 1j}, "N integers"),
        ({"images": IMAGES.astype("U"), "labels": LABELS}, "must be numbers, not <U"),
        ({"images": IMAGES * 1.0, "labels": LABELS}, "not in .0, 1.: say what is white, `.max=255"),
        ({"images": IMAGES / 127.5 - 1, "labels": LABELS}, "before they are normalised"),
        ({"images": IMAGES * np.nan, "labels": LABELS}, "not finite"),
        ({"images": IMAGES.astype(np.uint16), "labels": LABELS}, "`.max=255` or `.max=65535`"),
        ({"images": IMAGES.astype(np.int32) * 9, "labels": LABELS}, "say what is white"),
        ({"images": (IMAGES > 9).astype(np.int8), "labels": LABELS}, "say what is white, `.max=1`"),
        ({"images": IMAGES, "labels": LABELS - 1}, "negative label"),
        ({"images": np.array([{"code": 1}]), "labels": LABELS}, "plain arrays"),
    ],
)
def test_malformed_npz_is_refused(arrays: dict[str, Any], reason: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DfkdError, match=reason):
        load_data(f"npz:{tmp_path}/d.npz")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("d.npz", "write npz:FILE"),
        ("npz:", "write npz:FILE"),
        ("csv:d", "write npz:FILE"),
        ("npz:{folder}/nowhere.npz", "no file"),
        ("npz:{folder}/text.npz", "no whole .npz"),
        ("npz:{folder}/single.npz", "no whole .npz"),
        ("npz:{folder}/half.npz", "damaged|no whole .npz"),
        ("bundled:digits", "did you mean 'digits_vgg'"),
        ("idx:{folder}", "no MNIST layout"),
        ("folder:{folder}/nowhere", "no pictures"),
        ("folder:{folder}", "no pictures"),
    ],
)
def test_bad_uris_are_refused(uri: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("not an archive")
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, IMAGES)
    np.savez(tmp_path / "half.npz", images=IMAGES, labels=LABELS)
    data = (tmp_path / "half.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DfkdError, match=reason):
        load_data(uri.format(folder=tmp_path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (idx(IMAGES)[:-1], "should hold .6, 5, 4. bytes and holds 119"),
        (idx(IMAGES)[:6], "no IDX file"),
        (b"", "no IDX file"),
        (b"\x00\x00\x0d\x03" + bytes(12), "no IDX file"),
        (gzip.compress(idx(IMAGES)), "no IDX file"),
    ],
)
def test_damaged_idx_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DfkdError, match=reason):
        load_data(f"idx:{tmp_path}")


def test_damaged_gzip_and_pictures_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, compressed=True)
    images = tmp_path / "t10k-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:-9])
    with pytest.raises(DfkdError, match="no whole gzip"):
        load_data(f"idx:{tmp_path}")
    pictures = write_folder(tmp_path / "pictures", ("a", "b"))
    (pictures / "a" / "second.png").write_bytes(b"no picture")
    with pytest.raises(DfkdError, match=r"second.png is no picture"):
        load_data(f"folder:{pictures}", class_names="ab")
    Image.new("RGB", (3, 3)).save(pictures / "a" / "second.png")
    with pytest.raises(DfkdError, match="several sizes"):
        load_data(f"folder:{pictures}", class_names="ab")


def test_data_that_does_not_fit_a_model_is_refused() -> None:
    data = LabelledImages(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 5]), "d")
    check_fits(data, ImageSpec(1, 8, 8), 6)
    with pytest.raises(DfkdError, match="holds 1x8x8 images and the model takes 3x8x8"):
        check_fits(data, ImageSpec(3, 8, 8))
    with pytest.raises(DfkdError, match="label 5 and the model has 5 classes"):
        check_fits(data, ImageSpec(1, 8, 8), 5)
