"""Folders of pictures: which files are read, whose they are, and what is said of the others."""

import os
from pathlib import Path

import pytest
from PIL import Image

from dfkd.datasets import load_data
from dfkd.datasets.listing import ENDINGS, look_into
from dfkd.errors import DfkdError

DIGITS = tuple("0123456789")


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def refused(folder: Path, classes: tuple[str, ...] = DIGITS) -> str:
    with pytest.raises(DfkdError) as refusal:
        load_data(f"folder:{folder}", class_names=classes)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) <= 300
    return str(refusal.value)


def test_files_that_are_not_read_are_counted(tmp_path: Path) -> None:
    for index in range(10):
        picture(tmp_path / "3" / f"{index}.{'gif' if index % 2 else 'png'}")
    (tmp_path / "3" / "Thumbs.db").write_text("")
    (tmp_path / "3" / ".hidden").write_text("")
    (tmp_path / "README").write_text("")
    data = load_data(f"folder:{tmp_path}", class_names=DIGITS)
    assert data.labels.tolist() == [3] * 5
    assert data.reading.skipped == {".gif": 5, ".db": 1, "no ending": 1}
    picture(tmp_path / "4" / "a.gif")
    assert "without pictures: 4 (8 files skipped: .gif, no ending, .db)" in refused(tmp_path)


def test_every_ending_is_read_and_no_other_format_than_theirs(tmp_path: Path) -> None:
    for ending in ENDINGS:
        picture(tmp_path / "1" / f"a{ending}")
    jpeg = picture(tmp_path / "1" / "b.jpg")
    jpeg.rename(tmp_path / "1" / "b.png")  # a wrong ending, of a format that is read
    assert len(load_data(f"folder:{tmp_path}", class_names=DIGITS)) == len(ENDINGS) + 1
    for format in ("GIF", "PDF", "EPS", "ICO"):
        Image.new("RGB", (4, 4)).save(tmp_path / "1" / "x.png", format=format)
        assert "1/x.png is no picture" in refused(tmp_path)


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    picture(tmp_path / "1" / "a.png")
    os.mkfifo(tmp_path / "1" / "b.png")
    (tmp_path / "1" / "c.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "1" / "d.png").symlink_to("/dev/zero")
    data = load_data(f"folder:{tmp_path}", class_names=DIGITS)
    assert (len(data), data.reading.skipped) == (1, {"no plain file": 3})
    os.mkfifo(tmp_path / "pipe")
    for kind in ("folder", "npz", "idx"):
        with pytest.raises(DfkdError):
            load_data(f"{kind}:{tmp_path / 'pipe'}")


def test_links_never_show_a_picture_twice(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    picture(folder / "00000_class1.png")
    for name in ("l1", "l2"):
        (folder / name).symlink_to(".")
    data = load_data(f"folder:{folder}", class_names=DIGITS)
    assert (data.labels.tolist(), data.reading.skipped) == ([1], {"link": 2})
    deep = tmp_path / "deep"
    picture(deep / "2" / "a.png")
    for target in (".", "..", str(tmp_path)):
        (deep / "2" / f"to{len(target)}").symlink_to(target)
    (deep / "up").symlink_to(tmp_path)
    assert [len(paths) for paths in look_into(deep).classes.values()] == [1]


def test_a_class_may_be_a_link_but_no_second_name_of_another(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere" / "cats" / "a.png")
    picture(tmp_path / "d" / "dog" / "a.png")
    (tmp_path / "d" / "cat").symlink_to(tmp_path / "elsewhere" / "cats")
    assert load_data(f"folder:{tmp_path / 'd'}", class_names=("dog", "cat")).labels.tolist() == [
        1,
        0,
    ]
    (tmp_path / "d" / "tom").symlink_to(tmp_path / "elsewhere")
    said = refused(tmp_path / "d", ("dog", "cat", "tom"))
    assert "'tom' and 'cat' in it hold the same pictures" in said


@pytest.mark.parametrize("classes", [DIGITS, ("train", "cat"), ("cat", "dog")])
@pytest.mark.parametrize("parts", [("train", "val"), ("train",), ("Test", "train", "valid")])
def test_parts_of_a_data_set_are_no_classes(
    parts: tuple[str, ...], classes: tuple[str, ...], tmp_path: Path
) -> None:
    for part in parts:
        for name in ("0", "1"):
            picture(tmp_path / part / name / "a.png")
    said = refused(tmp_path, classes)
    assert f"holds {', '.join(parts)}, and the pictures one level deeper" in said
    assert said.endswith(f"/{parts[-1]}")


def test_numbered_parts_are_no_classes_either(tmp_path: Path) -> None:
    for part in ("0", "1", "2"):
        picture(tmp_path / part / "cat" / "a.png")
    assert "one level deeper" in refused(tmp_path, ("dog", "cat", "cow"))


def test_a_class_called_train_keeps_its_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a.png")
    picture(tmp_path / "tractor" / "old" / "a.png")
    data = load_data(f"folder:{tmp_path}", class_names=("tractor", "train"))
    assert data.labels.tolist() == [0, 1]


def test_inverted_pictures_are_read_where_all_say_their_class(tmp_path: Path) -> None:
    for label in (7, 3):
        picture(tmp_path / f"0000{label}_class{label}.png")
    data = load_data(f"folder:{tmp_path}", class_names=DIGITS)
    assert (data.labels.tolist(), data.reading.how) == ([3, 7], "file name")
    picture(tmp_path / "preview.png")
    assert "not all names say their class" in refused(tmp_path)
    (tmp_path / "1").mkdir()
    picture(tmp_path / "1" / "a.png")
    assert "pictures (00003_class3.png) and directories of pictures (1)" in refused(tmp_path)


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        ("abc", [2, 0]),
        ("cab", [0, 1]),
        ("012", [2, 0]),
        ("xyz", "class 'x' of the model is none of the pictures' teacher, which has 'a'"),
        ("abcd", "the pictures' teacher knows 3 classes and the model 4|model knows 4 classes"),
    ],
)
def test_inverted_pictures_are_of_their_teachers_classes(
    classes: str, labels: list[int] | str, tmp_path: Path
) -> None:
    for index, label in enumerate((2, 0)):
        picture(tmp_path / "run" / "images" / f"{index}_class{label}.png")
    (tmp_path / "run" / "manifest.json").write_text('{"class_names": ["a", "b", "c"]}')
    uri = f"folder:{tmp_path / 'run' / 'images'}"
    if isinstance(labels, str):
        with pytest.raises(DfkdError, match=labels):
            load_data(uri, class_names=classes)
    else:
        assert load_data(uri, class_names=classes).labels.tolist() == labels


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"class_names": 3}', '{"class_names": [3]}', "["]
)
def test_a_file_that_is_no_manifest_says_nothing(text: str, tmp_path: Path) -> None:
    picture(tmp_path / "images" / "0_class2.png")
    (tmp_path / "manifest.json").write_text(text)
    uri = f"folder:{tmp_path / 'images'}"
    assert load_data(uri, class_names=("a", "b", "c")).labels.tolist() == [2]


def test_previews_that_programs_keep_are_not_read(tmp_path: Path) -> None:
    picture(tmp_path / "1" / "a.png")
    picture(tmp_path / "1" / ".ipynb_checkpoints" / "a.png")
    picture(tmp_path / ".cache" / "a.png")
    assert len(load_data(f"folder:{tmp_path}", class_names=DIGITS)) == 1


@pytest.mark.parametrize("length", [1, 200])
def test_refusals_of_long_and_odd_names_stay_one_short_line(length: int, tmp_path: Path) -> None:
    folder = tmp_path / ("d" * length)
    for name in ("\n" + "x" * length, "y" * length, "\udcff"):
        picture(folder / name / "a.png")
    for classes in ((), DIGITS, ("z" * 999, "\n")):
        refused(folder, classes).encode()
    assert "give class_names" in refused(folder, ())  # only from Python is there a folder without
    (folder / ("y" * length) / ("a" * length + ".png")).write_text("no picture")
    refused(folder, ("\n" + "x" * length, "y" * length, "\udcff")).encode()
