"""The user's own files: what lies beside them, and the keywords that their factories name."""

from pathlib import Path
from typing import Any

import pytest
import torch

import dfkd
from dfkd.errors import DfkdError
from dfkd.loading import load_model, load_student, load_teacher
from dfkd.loading.loaded import LoadedModel
from dfkd.networks import vgg

LAZY = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Linear(64, classes)
    def forward(self, x):
        from beside_forward import flat
        return self.layer(flat(x))

def build(n_classes=4):
    from beside_factory import CLASSES
    return Net(CLASSES if n_classes == 4 else n_classes)

def fixed():
    return Net(3)
"""


def write(folder: Path, classes: int) -> str:
    folder.mkdir()
    (folder / "lazy.py").write_text(LAZY)
    (folder / "beside_factory.py").write_text(f"CLASSES = {classes}\n")
    (folder / "beside_forward.py").write_text("def flat(x):\n    return x.flatten(1)\n")
    return f"{folder}/lazy.py:build"


def test_neighbours_are_found_in_factory_and_pass(tmp_path: Path) -> None:
    for name, classes in (("one", 5), ("two", 6), ("three", 7)):
        teacher = load_teacher(write(tmp_path / name, classes), image="1x8x8")
        assert teacher(torch.rand(2, 1, 8, 8)).shape == (2, classes)


@pytest.mark.parametrize(
    ("factory", "remedy"),
    [("build", r"set the student's \?n_classes=10"), ("fixed", "let fixed take num_classes")],
)
def test_a_remedy_names_keywords_that_there_are(factory: str, remedy: str, tmp_path: Path) -> None:
    uri = write(tmp_path / "mine", 4).replace(":build", f":{factory}")
    teacher = dfkd.Teacher(vgg((4, 8), 1, 1), dfkd.ImageSpec(1, 8, 8))
    with pytest.raises(DfkdError, match=remedy):
        load_student(uri, teacher)


def test_a_run_may_be_named_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    with pytest.raises(DfkdError, match=r"'~/mine' holds no student"):
        load_model("run:~/mine")


def published(monkeypatch: pytest.MonkeyPatch) -> Any:
    from torchvision import models

    state = models.squeezenet1_1().state_dict()
    kind: Any = models.SqueezeNet1_1_Weights
    monkeypatch.setattr(kind, "get_state_dict", lambda self, **_: dict(state))
    return state


def test_a_published_body_gets_a_new_head(monkeypatch: pytest.MonkeyPatch) -> None:
    state = published(monkeypatch)
    loaded: LoadedModel = load_model(
        "torchvision:squeezenet1_1?weights=DEFAULT", {"num_classes": 10}
    )
    own = loaded.network.state_dict()
    assert own["classifier.1.weight"].shape[0] == 10
    assert all(torch.equal(v, state[k]) for k, v in own.items() if "classifier" not in k)
    assert loaded.class_names is None
    assert "left out, since they are of other classes" in loaded.notes[0]
    with pytest.raises(DfkdError, match="num_classes"):
        load_model("torchvision:squeezenet1_1?weights=DEFAULT&num_classes=10")


def test_timm_says_how_to_build_for_other_sizes() -> None:
    pytest.importorskip("timm")
    name = "timm:vit_tiny_patch16_224"
    reason = rf"AssertionError: Input height \(32\).*; build it for them: {name}\?img_size=32"
    with pytest.raises(DfkdError, match=reason):
        load_teacher(f"{name}?depth=1", image="3x32x32")
    teacher = load_teacher(f"{name}?depth=1&img_size=32")
    assert (teacher.spec.shape, teacher.spec.mean) == ((3, 32, 32), (0.5, 0.5, 0.5))
    free = load_teacher(f"{name}?depth=1&dynamic_img_size=true", image="3x32x32")
    assert free(torch.rand(1, 3, 32, 32)).shape == (1, 1000)
