"""Arrays as people keep them: any type, layout, name and form of labels, read back as they were."""

import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfkd.datasets import load_data, load_images
from dfkd.datasets.class_labels import class_indices
from dfkd.datasets.intensity import to_intensities
from dfkd.datasets.layout import find_arrangement
from dfkd.errors import DfkdError
from dfkd.teacher.spec import ImageSpec
from support.methods import make_teacher

RANDOM = np.random.default_rng(0)
LABELS = np.array([2, 0, 1, 2])


def write(path: Path, **arrays: Any) -> str:
    np.savez(path / "d.npz", **arrays)
    return f"npz:{path / 'd.npz'}"


SIZES = st.tuples(*[st.integers(1, 7)] * 3)


@settings(deadline=None)
@given(SIZES, st.booleans())
def test_a_layout_is_what_fits_or_is_asked_for(shape: tuple[int, int, int], last: bool) -> None:
    images = RANDOM.random((2, *shape))
    held = images.transpose(0, 2, 3, 1) if last else images
    spec = ImageSpec(*shape)
    other = (held.shape[1:] if last else (held.shape[3], *held.shape[1:3])) == shape
    if other:  # both fit
        with pytest.raises(DfkdError, match="layout=first"):
            find_arrangement(held.shape[1:], spec, "", "d")
    else:
        found = find_arrangement(held.shape[1:], spec, "", "d")
        assert (found.arrange(held) == images).all()
    told = find_arrangement(held.shape[1:], spec, "last" if last else "first", "d")
    assert (told.arrange(held) == images).all()


@pytest.mark.parametrize(
    ("held", "spec", "wanted", "shape"),
    [
        ((5, 4), None, "", (1, 5, 4)),
        ((5, 4), (3, 5, 4), "", (1, 5, 4)),  # which does not fit, as is said later
        ((1, 128, 6), (6, 1, 128), "", (6, 1, 128)),
        ((3, 128, 6), (6, 3, 128), "", (6, 3, 128)),
        ((13, 64, 64), (13, 64, 64), "", (13, 64, 64)),
        ((64, 64, 13), (13, 32, 32), "", (13, 64, 64)),
        ((12, 32), (12, 1, 32), "", (12, 1, 32)),
        ((32, 12), (12, 1, 32), "", (12, 1, 32)),
        ((32, 12), (12, 32, 1), "", (12, 32, 1)),
        ((1024,), (1, 1, 1024), "", (1, 1, 1024)),
        ((20,), (1, 5, 4), "", (1, 5, 4)),
        ((60,), (3, 5, 4), "last", (3, 5, 4)),
        ((60,), (3, 5, 4), "", "may be first or last"),
        ((61,), (3, 5, 4), "", "must be N x H x W"),
        ((), (1, 1, 1), "", "must be N x H x W"),
        ((3, 5, 3), None, "", "may be first or last"),
        ((3, 5, 4), None, "", (3, 5, 4)),
        ((5, 4, 3), None, "", (3, 5, 4)),
        ((5, 4, 6), None, "", (6, 5, 4)),
        ((5, 4, 6), None, "first", (5, 4, 6)),
        ((2, 3, 4, 5), (3, 4, 5), "", "must be N x H x W"),
    ],
)
def test_axes(held: Any, spec: Any, wanted: str, shape: Any) -> None:
    model = None if spec is None else ImageSpec(*spec)
    if isinstance(shape, str):
        with pytest.raises(DfkdError, match=shape):
            find_arrangement(held, model, wanted, "d")
    else:
        assert find_arrangement(held, model, wanted, "d").shape == shape


@settings(deadline=None)
@given(
    st.sampled_from(["u1", "u2", ">u2", "i2", "i4", ">i8", "u8", "f2", "f4", ">f4", "f8", "?"]),
    st.integers(1, 5),
)
def test_every_type_gives_the_same_intensities(dtype: str, pieces: int) -> None:
    steps = np.arange(256).reshape(16, 1, 4, 4)
    kind = np.dtype(dtype)
    values = {"u": steps, "i": steps, "f": steps / 255, "b": steps > 127}[kind.kind].astype(kind)
    if kind == np.uint16:
        values = values * 257
    found, _ = to_intensities(
        np.array_split(values.astype(kind), pieces), values.shape, kind, None, "d"
    )
    intensities = found.float() / 255 if found.dtype == torch.uint8 else found
    wanted = values if kind.kind == "b" else steps / 255
    tolerance = 6e-4 if kind.itemsize == 2 and kind.kind == "f" else 1e-6
    np.testing.assert_allclose(intensities.numpy(), wanted, atol=tolerance)


def test_a_white_that_is_given_is_what_numbers_are_divided_by(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 4096, (4, 5, 6)).astype(np.uint16)
    uri = write(tmp_path, images=images, labels=LABELS)
    data = load_data(f"{uri}?max=4095")
    np.testing.assert_allclose(data.images[:, 0], images / 4095, atol=1e-6)
    assert "divided by 4095" in data.reading.notes
    assert "16 bits: divided by 65535" in load_data(uri).reading.notes
    with pytest.raises(DfkdError, match=r"outside 0 to `.max=255`"):
        load_data(f"{uri}?max=255")
    dark = write(tmp_path, images=(images > 9).astype(np.uint8), labels=LABELS)
    assert "none brighter than 1 of 255" in load_data(dark).reading.notes[0]
    assert load_data(f"{dark}?max=1").images.max() == 1


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (LABELS.astype(np.uint64), LABELS),
        (LABELS[:, None].astype(np.int8), LABELS),
        (LABELS[None].astype(np.float32), LABELS),
        (np.eye(3)[LABELS], LABELS),
        (np.eye(3, dtype=bool)[LABELS], LABELS),
        (LABELS > 0, [1, 0, 1, 1]),
        (np.array(["cow", "Cat", "dog ", "cow"]), [2, 0, 1, 2]),
        (np.array([b"cow", b"cat", b"dog", b"cow"]), [2, 0, 1, 2]),
        (np.array(["2", "0", "1", "2"]), LABELS),
    ],
)
def test_labels_in_every_form(labels: Any, found: Any, tmp_path: Path) -> None:
    uri = write(tmp_path, images=np.full((4, 5, 6), 9, np.uint8), labels=labels)
    data = load_data(uri, class_names=("cat", "dog", "cow"))
    assert data.labels.dtype == torch.int64
    assert data.labels.tolist() == list(found)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.array(["cow", "hen", "dog", "cow"]), "no class is called 'hen'"),
        (np.array([0, 1, 2, np.inf]), "not fractions"),
        (np.array([0, 1, 2, 2**40]), "no classes"),
        (np.zeros((4, 3)) + 0.5, "N integers"),
        (np.zeros((2, 2)), "N integers"),
        (np.zeros(0), "4 images and 0 labels"),
        (np.array([b"\xff"] * 4), "utf-8"),
    ],
)
def test_labels_that_are_none(labels: Any, reason: str, tmp_path: Path) -> None:
    uri = write(tmp_path, images=np.full((4, 5, 6), 9, np.uint8), labels=labels)
    with pytest.raises(DfkdError, match=reason) as refusal:
        load_data(uri, class_names=("cat", "dog", "cow"))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) <= 300


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=9))
def test_one_hot_and_back(labels: list[int]) -> None:
    found, _ = class_indices(np.eye(6)[labels], len(labels), (), "d")
    assert found.tolist() == labels


@pytest.mark.parametrize(
    ("names", "options", "note"),
    [
        (("images", "labels"), "", ()),
        (("x", "y"), "", ("x and y",)),
        (("X", "Y"), "", ("X and Y",)),
        (("arr_0", "arr_1"), "", ("arr_0 and arr_1",)),
        (("data", "target"), "", ("data and target",)),
        (("pixels", "classes"), "", ("pixels and classes",)),
        (("labels", "images"), "?images=labels&labels=images", ()),
        (("a", "b", "c"), "?images=a&labels=b", ()),
        (("x_train", "y_train", "x_test", "y_test"), "?images=x_train", ()),
    ],
)
def test_names_of_arrays(names: tuple[str, ...], options: str, note: Any, tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (4, 5, 6)).astype(np.uint8)
    arrays = {name: LABELS if i % 2 else images for i, name in enumerate(names)}
    data = load_data(write(tmp_path, **arrays) + options)
    assert (data.images[:, 0].numpy() == images).all()
    assert data.labels.tolist() == LABELS.tolist()
    assert data.reading.notes == note


def test_a_test_set_comes_before_a_training_set(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (4, 5, 6)).astype(np.uint8)
    uri = write(tmp_path, x_train=images[:1], y_train=LABELS[:1], x_test=images, y_test=LABELS)
    data = load_data(uri)
    assert (len(data), data.reading.notes) == (
        4, ("x_test and y_test of x_train, y_train, x_test, y_test",),
    )  # fmt: skip
    with pytest.raises(DfkdError, match="did you mean 'x_test'"):
        load_data(f"{uri}?images=xtest")


def test_columns_first_and_an_empty_file_and_one_that_lies(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (4, 5, 6)).astype(np.uint8)
    data = load_data(write(tmp_path, images=np.asfortranarray(images), labels=LABELS))
    assert (data.images[:, 0].numpy() == images).all()
    with pytest.raises(DfkdError, match="holds nothing"):
        load_data(write(tmp_path))
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as file:
        header = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 9)}"
        file.writestr("images.npy", (header % 10**15).ljust(127) + b"\n")
    with pytest.raises(DfkdError, match="is shorter than it says"):
        load_data(f"npz:{tmp_path / 'd.npz'}")


def test_a_large_array_is_never_whole_in_memory_twice(tmp_path: Path) -> None:
    uri = write(tmp_path, images=np.full((64, 512, 512), 0.25), labels=np.arange(64))  # 134 MB
    tracemalloc.start()
    data = load_data(uri)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.images.dtype == torch.float32
    assert peak < 1.8 * data.images.nbytes  # 67 MB, and a piece of the file as it is read


def test_images_to_learn_from_are_bytes(tmp_path: Path) -> None:
    images = RANDOM.random((4, 8, 8)).astype(np.float32)
    found = load_images(write(tmp_path, images=images), make_teacher())
    assert (found.labels, found.images.dtype) == (None, torch.uint8)
    assert found.reading.notes == ("kept as bytes",)
    np.testing.assert_allclose(found.images[:, 0] / 255, images, atol=0.002)
