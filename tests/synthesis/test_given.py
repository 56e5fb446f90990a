"""The user's own images in a method's place: from every form of DATA, with labels or without."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import dfkd
from dfkd import cli
from dfkd.cli.distill import FAILED
from dfkd.datasets import load_images
from dfkd.errors import DfkdError
from dfkd.report.sentences import lead
from dfkd.synthesis.fixed_images import FixedImages
from dfkd.teacher.spec import dequantize


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "own.npz", **arrays)
    return f"npz:{tmp_path / 'own.npz'}"


def test_images_without_labels_are_read_from_a_file_and_from_a_flat_folder(
    tmp_path, pictures, tiny_teacher
):
    given = load_images(saved(tmp_path, images=pictures), tiny_teacher)
    assert given.labels is None
    assert torch.equal(given.images[:, 0], torch.from_numpy(pictures))
    for index, picture in enumerate(pictures[:3]):
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
    given = load_images(f"folder:{tmp_path}", tiny_teacher)
    assert (given.labels, len(given)) == (None, 3)
    assert torch.equal(given.images[:, 0], torch.from_numpy(pictures[:3]))


def test_inverted_pictures_keep_the_classes_they_were_made_for(tmp_path, pictures, tiny_teacher):
    for index, label in enumerate((3, 0, 2)):
        Image.fromarray(pictures[index]).save(tmp_path / f"{index:05d}_class{label}.png")
    given = load_images(f"folder:{tmp_path}", tiny_teacher)
    assert given.labels.tolist() == [3, 0, 2]
    Image.fromarray(pictures[3]).save(tmp_path / "00003_class4.png")
    with pytest.raises(DfkdError, match="has label 4"):
        load_images(f"folder:{tmp_path}", tiny_teacher)
    # One without a class: names are not what was meant.
    Image.fromarray(pictures[4]).save(tmp_path / "other.png")
    assert load_images(f"folder:{tmp_path}", tiny_teacher).labels is None


def test_labels_are_taken_where_there_are_some(tmp_path, pictures, tiny_teacher):
    labels = np.arange(40) % 4
    given = load_images(saved(tmp_path, images=pictures, labels=labels), tiny_teacher)
    assert given.labels.tolist() == labels.tolist()
    for index, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        Image.fromarray(pictures[index]).save(tmp_path / name / "x.png")
    assert load_images(f"folder:{tmp_path}", tiny_teacher).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        (
            {"images": np.zeros((4, 9, 9), np.uint8)},
            "holds 1x9x9 images and the teacher takes 1x8x8",
        ),
        ({"images": np.full((4, 8, 8), 200.0)}, "say what is white, `.max=255`"),
        ({"images": np.zeros((4, 3, 8, 8), np.uint8)}, "holds 3x8x8 images and the teacher takes"),
        ({"a": np.zeros((4, 8, 8), np.uint8), "b": np.zeros((4, 8, 8))}, "say which arrays"),
        ({"images": np.zeros((2, 8, 8), np.uint8), "labels": np.array([0, 4])}, "has label 4"),
        ({"images": np.zeros((2, 8, 8), np.uint8), "labels": np.array([0])}, "1 labels"),
    ],
)
def test_what_does_not_fit_is_refused(arrays, what, tmp_path, tiny_teacher):
    with pytest.raises(DfkdError, match=what) as refusal:
        load_images(saved(tmp_path, **arrays), tiny_teacher)
    assert "\n" not in str(refusal.value)


def test_a_stray_picture_beside_directories_of_classes_is_refused(tmp_path, pictures, tiny_teacher):
    (tmp_path / "cats").mkdir()
    for name in ("preview.png", "cats/tom.png"):
        Image.fromarray(pictures[0]).save(tmp_path / name)
    with pytest.raises(DfkdError, match=r"\(preview.png\) and directories of pictures \(cats\)"):
        load_images(f"folder:{tmp_path}", tiny_teacher)


def test_the_teacher_is_asked_once_about_each(pictures, tiny_teacher):
    images = torch.from_numpy(pictures)[:, None]
    given = FixedImages(tiny_teacher, images, None, seed=0)
    assert (given.images_made, given.teacher_images) == (0, 40)
    batch = given.sample(40)
    shown = {tuple(image.flatten().tolist()) for image in batch.inputs}
    assert shown == {tuple(image.flatten().tolist()) for image in dequantize(images)}
    with torch.no_grad():
        logits = tiny_teacher(batch.inputs)
    torch.testing.assert_close(batch.prediction.logits, logits, rtol=1e-2, atol=1e-2)
    assert torch.equal(batch.target, logits.argmax(1))


def test_a_run_says_what_it_learnt_from(tmp_path, pictures, tiny_teacher, tiny_student):
    given = load_images(saved(tmp_path, images=pictures), tiny_teacher)
    out = tmp_path / "run"
    options = {"steps": 5, "out": out, "device": "cpu", "compile": "on"}
    result = dfkd.distill(tiny_teacher, tiny_student, images=given, **options)
    # The method would read statistics: nobody asks it.
    assert result.figures["compiled"] == {"used": False, "reason": "no statistics are read"}
    assert result.figures["images_synthesized"] == 0
    assert result.figures["synthesis_updates"] == 0
    assert result.figures["teacher_forwards"] == 40
    real = json.loads((out / "manifest.json").read_text())["real_data"]
    assert real["used"]
    assert "40 images" in real["purpose"]
    assert "without labels, for training" in real["purpose"]
    page = (out / "report.html").read_text()
    # After five steps the page says that it has not learnt: this is what others are told.
    assert f"It learnt from {given.name}" in lead({**result.figures, "failure": None})
    assert f"<h1>A student from {given.name}</h1>" in page
    assert "without data" not in page


def test_the_command_line_takes_them(tmp_path, capsys):
    words = ["bundled:digits_vgg", "dfkd.networks:resnet?depth=8&widths=(4,4,4)"]
    options = ["--images", "bundled:digits_vgg", "--knowledge", "kd + 0.5*hard", "--steps", "3"]
    out = tmp_path / "run"
    done = cli.main(["distill", *words, *options, "--device", "cpu", "--out", str(out)])
    assert done in (0, FAILED)  # three steps may have taught nothing
    manifest = json.loads((out / "manifest.json").read_text())
    assert "with its labels" in manifest["real_data"]["purpose"]
    assert manifest["recipe"]["learner"]["knowledge"] == "kd + 0.5*hard"
