"""Folders of Hugging Face's transformers, built here by transformers itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dfkd.errors import DfkdError
from dfkd.loading import load_teacher
from dfkd.loading.hf_folders import _class_names, _spec

transformers = pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = {0: "cat", 1: "dog", 2: "owl"}
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", id2label=names,
        label2id={name: index for index, name in names.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    describe(tmp_path, size={"shortest_edge": 40}, crop_size=32, do_center_crop=True)
    return tmp_path


def describe(folder: Path, **facts: Any) -> None:
    usual = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.2, 0.1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(usual | facts))


def test_a_folder_says_all(folder: Path) -> None:
    teacher = load_teacher(f"hf:{folder}")
    assert teacher.class_names == ("cat", "dog", "owl")
    assert teacher.spec.shape == (3, 32, 32)
    assert (teacher.spec.mean, teacher.spec.std) == ((0.5, 0.4, 0.3), (0.25, 0.2, 0.1))
    assert len(teacher.layers) == 6
    assert teacher.notes == ()
    model = transformers.ResNetForImageClassification.from_pretrained(folder).eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        expected = model(teacher.spec.normalize(images)).logits
    torch.testing.assert_close(teacher(images), expected)


def test_without_a_processor_it_is_said(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(DfkdError, match="does not say what images it takes"):
        load_teacher(f"hf:{folder}")
    teacher = load_teacher(f"hf:{folder}", image="3x32x32")
    assert "does not say by what its images are normalised" in teacher.notes[0]
    assert load_teacher(f"hf:{folder}", image="3x32x32", mean=[0.1] * 3).notes == ()


def test_weights_in_a_pickle_are_tensors_alone(folder: Path) -> None:
    model = transformers.ResNetForImageClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert load_teacher(f"hf:{folder}").class_names[0] == "cat"
    harm = {**model.state_dict(), "x": Path}
    torch.save(harm, folder / "pytorch_model.bin")
    with pytest.raises(DfkdError, match="is no image classifier"):
        load_teacher(f"hf:{folder}")


@pytest.mark.parametrize("change", ["no weights", "no head", "code", "no JSON", "text", "sizes"])
def test_what_is_wrong_is_one_line(change: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    if change == "no weights":
        (folder / "model.safetensors").unlink()
    elif change == "no head":
        config["architectures"] = ["ResNetModel"]
        config["id2label"] = {str(index): f"n{index}" for index in range(5)}
        config["label2id"] = {f"n{index}": index for index in range(5)}
    elif change == "code":
        (folder / "modeling.py").write_text("open('canary', 'w')\n")
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "modeling.Config"}}
        config["auto_map"]["AutoModelForImageClassification"] = "modeling.Model"
    elif change == "sizes":
        describe(folder, size={"height": 10**9, "width": 10**9})
    (folder / "config.json").write_text(json.dumps(config))
    if change in ("no JSON", "text"):
        (folder / "config.json").write_text("{" if change == "no JSON" else '"x"')
    with pytest.raises(DfkdError) as caught:
        load_teacher(f"hf:{folder}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300 + 2 * len(str(folder))
    assert not Path("canary").exists()


def test_facts_of_folders_as_they_are_written() -> None:
    config = {"num_channels": 1, "image_size": 28}
    processors: list[tuple[dict[str, Any], tuple[float, float, float]]] = [
        ({"size": 16, "image_mean": [0.5], "image_std": [0.5]}, (16, 0.5, 0.5)),
        ({"image_mean": 0.5, "image_std": 0.25}, (28, 0.5, 0.25)),
        ({"size": {"height": 8, "width": 8}, "do_normalize": False}, (8, 0.0, 1.0)),
        # (255 x / 127.5 - 1 - 0) / 1
        ({"size": 8, "rescale_factor": 1 / 127.5, "rescale_offset": True, "image_mean": [0],
          "image_std": [1]}, (8, 0.5, 0.5)),
        ({"size": 8, "do_rescale": False, "image_mean": [127.5], "image_std": [51]}, (8, 0.5, 0.2)),
    ]  # fmt: skip
    for processor, (side, mean, std) in processors:
        spec, said = _spec(config, processor, "hf:x")
        assert said
        assert spec is not None
        assert (spec.shape, spec.mean, spec.std) == ((1, side, side), (mean,), (std,))
    assert _class_names({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}) is None
    assert _class_names({"id2label": {"1": "b", "0": "a"}}) == ("a", "b")
    assert _class_names({"id2label": {"1": "b", "2": "a"}}) is None
