"""Networks that return several values, of which one is meant."""

import pytest
import torch
from torch import nn

import dfkd
from dfkd.errors import DfkdError
from dfkd.loading import load_student_model, save_artefact
from dfkd.networks import initialise, vgg
from dfkd.networks.layers import classifier
from dfkd.tasks.answers import answer_at

SOURCE = """
from typing import NamedTuple
import torch
from torch import nn
from dfkd.networks import vgg, initialise

class Found(NamedTuple):
    boxes: torch.Tensor
    kinds: torch.Tensor

class Cascade(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.body, self.wrap = initialise(vgg((4, 8), 1, 1, 5), 0), wrap

    def forward(self, x):
        kinds = self.body(x)
        return self.wrap(kinds[:, :4], kinds)

def pair(num_classes=5):
    return Cascade(lambda boxes, kinds: (boxes, kinds))

def record():
    return Cascade(Found)

def named():
    return Cascade(lambda boxes, kinds: {"boxes": boxes, "kinds": kinds})

def single():
    return Cascade(lambda boxes, kinds: kinds)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(SOURCE)
    return path


def images(count=4):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "words", ["pair?answer=1", "record?answer=kinds", "record?answer=1", "named?answer=kinds"]
)
def test_the_value_that_is_named_is_the_answer(file, words):
    teacher = dfkd.load_teacher(f"{file}:{words}", image="1x8x8")
    assert teacher.num_classes == 5
    wanted = dfkd.load_teacher(f"{file}:single", image="1x8x8")
    torch.testing.assert_close(teacher(images()), wanted(images()))
    assert any("is taken for its logits" in note for note in teacher.notes)
    # Its layers keep their names, for whoever pairs or reads them.
    assert list(teacher.layers) == list(wanted.layers)
    assert classifier(teacher.network, (5,)).endswith("body.head")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("pair?answer=2", r"returns a tuple of 0 \(N x 4\), 1 \(N x 5\)"),
        ("pair?answer=kinds", "no `answer=kinds`: the network returns a tuple"),
        ("record?answer=scores", r"a Found of 0 \(N x 4\), 1 \(N x 5\), boxes"),
        ("single?answer=0", "one tensor: leave `answer` out"),
        ("pair?answer=-1", "a number from 0 on, or the name of a field"),
        ("pair?answer=1.5", "a number from 0 on"),
        ("pair?answer=true", "a number from 0 on"),
        ("pair?answer=none", "a number from 0 on"),
        ("pair?answer=" + "x" * 400, "no `answer=x"),
    ],
)
def test_a_value_that_is_not_there_is_one_line(file, words, message):
    with pytest.raises(DfkdError, match=message) as caught:
        dfkd.load_teacher(f"{file}:{words}", image="1x8x8")
    assert len(str(caught.value)) <= 300


def test_what_was_taken_says_what_else_there_was(file):
    teacher = dfkd.load_teacher(f"{file}:pair", image="1x8x8")
    assert teacher.num_classes == 4  # the first, and said
    assert "(N x 4; `?answer=1` would be N x 5)" in teacher.task.taken


def test_weights_are_the_inner_networks(file, tmp_path):
    whole = initialise(vgg((4, 8), 1, 1, 5), 3)
    state = {f"body.{name}": value for name, value in whole.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    teacher = dfkd.load_teacher(f"{file}:pair?weights={tmp_path}/w.pth&answer=1", image="1x8x8")
    expected = dfkd.Teacher(whole, teacher.spec)(images())
    torch.testing.assert_close(teacher(images()), expected)


def test_such_a_student_is_saved_and_comes_back(file, tmp_path):
    teacher = dfkd.Teacher(initialise(vgg((4, 8), 1, 1, 5), 1), dfkd.ImageSpec(1, 8, 8))
    loaded = load_student_model(f"{file}:pair?answer=1", teacher)
    place = tmp_path / "run"
    place.mkdir()
    save_artefact(
        place / "student.safetensors", loaded.network, loaded.factory, loaded.keywords,
        teacher.spec, teacher.class_names,
    )  # fmt: skip
    with pytest.raises(DfkdError, match="no network of dfkd, torchvision or timm"):
        dfkd.load_teacher(f"run:{place}")
    again = dfkd.load_teacher(f"run:{place}?trust=True")
    expected = loaded.network.eval()(images())
    torch.testing.assert_close(again(images()), expected)


def test_a_value_that_holds_itself_is_no_trouble():
    held = [1]
    held.append(held)
    assert answer_at(held, 1) is held
    with pytest.raises(DfkdError, match="a list of 0"):
        answer_at(held, 5)
    assert answer_at({"a": nn.Identity()}, "a") is not None
