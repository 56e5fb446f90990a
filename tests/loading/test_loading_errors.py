"""Every bad URI, weights file and image fact is told what to do, in one line."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from dfkd.errors import DfkdError
from dfkd.loading import load_model, load_student, load_teacher
from support.loading import SMALL, small, truncate, write_bad, write_factories


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_factories(tmp_path)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("dfkd.networks:resnet?num_classes=7", "has 7 classes and the teacher 10"),
        ("dfkd.networks:resnet?in_channels=3", "the student does not accept 1x8x8 images"),
        ("torchvision:resnet18", "expected input.* to have 3 channels"),
        ("{folder}/own.py:one_vector", "must return N x 10 logits"),
    ],
)
def test_a_student_that_does_not_fit_is_refused(uri: str, reason: str, folder: Path) -> None:
    with pytest.raises(DfkdError, match=reason):
        load_student(uri.format(folder=folder), load_teacher("bundled:digits_vgg"))


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "not a MODEL"),
        ("resnet18", "write bundled:NAME"),
        ("bundled:", "not a MODEL"),
        ("own.py:", "not a MODEL"),
        (":make", "not a MODEL"),
        ("a b:make", "neither FILE.py nor package.module"),
        ("a.b:make()", "no name of a function"),
        ("a.b:make?x", "not of the form keyword=value; in a path write %26 for &"),
        ("a.b:make?weights=x&y.pth", "'y.pth' in .* write %26 for &"),
        ("model.pt", "write torchscript:model.pt, or FILE.py:FACTORY.weights=model.pt"),
        ("model.onnx", "write onnx:model.onnx"),
        ("hf:nowhere", "no folder with a config.json"),
        ("onnx:nowhere.onnx", "no file 'nowhere.onnx'|not installed"),
        ("torchscript:nowhere.pt", "is code, which can write files; add .trust=True"),
        ("torchscript:nowhere.pt?trust=true", "no file 'nowhere.pt'"),
        ("torchscript:nowhere.pt?trust=1", "True or False"),
        ("export:nowhere.pt2?depth=3", "takes no 'depth'"),
        ("export:nowhere.pt2?trust=true&weights=w.pth", "leave out weights="),
        ("hf:nowhere?num_classes=3", "takes no 'num_classes'"),
        ("a.b:make?x=1&x=2", "given twice"),
        ("a.b:make?weights=", "names no file"),
        ("bundled:fashion_resnet", "did you mean 'fashion_resnet20'"),
        ("bundled:../fashion_resnet20", "nothing bundled"),
        ("bundled:digits_vgg?widths=[2]", "takes no 'widths'"),
        ("torchvision:resnt18", "did you mean 'resnet18'"),
        ("torchvision:zzzzzz", "no classifier"),
        ("torchvision:resnet18?weights=IMAGENET1K_V9", "did you mean 'IMAGENET1K_V"),
        ("torchvision:resnet18?weights=nowhere.pth", "no weights file"),
        ("timm:resnet1818", "timm has no model"),
        ("torchvison:resnet18", "did you mean 'torchvision'"),
        ("no_such.module:make", "no module 'no_such.module'"),
        ("dfkd.networks:resnte", "did you mean 'resnet'"),
        ("dfkd.networks:resnet?dept=20", "did you mean 'depth'"),
        ("dfkd.networks:resnet?depth=9", "depth must be 6n"),
        ("nowhere.py:make", "no file 'nowhere.py'"),
        ("{folder}/own.py:mak", "did you mean 'make'"),
        ("{folder}/own.py:broken", "RuntimeError: out of cheese"),
        ("{folder}/own.py:number", "returns a int"),
        ("{folder}/own.py:ready", "not a function that builds"),
        ("{folder}/own.py:make?num_classes=ten", "TypeError"),
        ("{folder}/wrong.py:make", "ValueError: no such luck"),
        ("{folder}/syntax.py:make", "SyntaxError"),
        ("run:{folder}", "no student.safetensors"),
        ("run:{folder}/nowhere", "no such directory"),
    ],
)  # fmt: skip
def test_bad_uris_are_told_what_to_do(uri: str, reason: str, folder: Path) -> None:
    pytest.importorskip("timm")
    with pytest.raises(DfkdError, match=reason) as caught:
        load_model(uri.format(folder=folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("truncated", "damaged, truncated"),
        ("legacy_truncated", "damaged, truncated"),
        ("empty_file", "damaged, truncated"),
        ("text", "damaged, truncated"),
        ("plain_pickle", "holds a posix.system without any tensor"),
        ("list", "holds a list without any tensor"),
        ("numbers", "holds a dict without any tensor"),
        ("empty", "empty state_dict"),
        ("nan", "NaN or infinity .first in 'head.bias'"),
        ("infinite", "NaN or infinity"),
        ("other_architecture", r"\d+ missing .*and \d+ more.*, \d+ unexpected .conv1.weight"),
        ("other_shape", "2 misshapen .head.weight is 12x8, not 10x8"),
    ],
)
def test_bad_weights_are_told_apart(kind: str, reason: str, tmp_path: Path, recwarn: Any) -> None:
    path = tmp_path / "w.pth"
    write_bad(kind, path)
    with pytest.raises(DfkdError, match=reason) as caught:
        load_model(f"{SMALL}&weights={path}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 480
    assert not (Path.cwd() / "harm").exists()
    assert not [warning for warning in recwarn if "ickle" in str(warning.message)]


def test_bad_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    save_file(small().state_dict(), path)
    with pytest.raises(DfkdError, match="does not say how to build"):
        load_model(f"run:{tmp_path}")
    save_file(small().state_dict(), path, metadata={"dfkd": "{"})
    with pytest.raises(DfkdError, match="is damaged"):
        load_model(f"run:{tmp_path}")
    truncate(path, 0.5)
    for uri in (f"run:{tmp_path}", f"{SMALL}&weights={path}"):
        with pytest.raises(DfkdError, match="no whole safetensors file"):
            load_model(uri)
    with pytest.raises(DfkdError, match="damaged, truncated"):
        load_model(f"{SMALL}&weights={__file__}")


@pytest.mark.parametrize(
    ("uri", "facts", "reason"),
    [
        (SMALL, {}, "give `image=CxHxW`"),
        (SMALL, {"image": "28x28"}, "CHANNELSxHEIGHTxWIDTH"),
        (SMALL, {"image": "3x28x28"}, "does not accept 3x28x28 images"),
        (SMALL, {"image": "1x8x8", "mean": [0.1, 0.2]}, "mean needs one finite number"),
        (SMALL, {"image": "1x8x8", "std": [0.0]}, "std must be positive"),
        (SMALL, {"image": "1x8x8", "class_names": ["a"]}, "1 class names for 10"),
        ("{folder}/own.py:one_vector", {"image": "1x8x8"}, "must return N x classes"),
    ],
)
def test_bad_image_facts_are_refused(
    uri: str, facts: dict[str, Any], reason: str, folder: Path
) -> None:
    with pytest.raises(DfkdError, match=reason):
        load_teacher(uri.format(folder=folder), **facts)
