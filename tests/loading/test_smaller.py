"""``teacher:SIDE``: the teacher's own network as a student, on smaller images."""

from pathlib import Path

import pytest
import torch
from torch import nn

import dfkd
from dfkd.errors import DfkdError
from dfkd.loading import load_student_model, save_artefact
from dfkd.networks.smaller_images import SmallerImages


@pytest.fixture(scope="module")
def teacher() -> dfkd.Teacher:
    return dfkd.load_teacher("bundled:digits_vgg")


def test_a_smaller_image_holds_the_means_of_the_larger_one() -> None:
    shown: list[torch.Tensor] = []

    class Eye(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            shown.append(images)
            return images.mean((2, 3))

    images = torch.rand(2, 3, 12, 8)
    answer = SmallerImages(Eye(), 4)(images)
    wanted = images.view(2, 3, 6, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(shown[0], wanted)
    torch.testing.assert_close(answer, images.mean((2, 3)))


@pytest.mark.parametrize("side", [8, 20])
def test_an_image_that_is_small_enough_stays(side: int) -> None:
    images = torch.rand(2, 1, 8, 9)
    assert torch.equal(SmallerImages(nn.Identity(), side)(images), images)


def test_it_starts_with_the_teachers_weights_and_shares_none(teacher: dfkd.Teacher) -> None:
    student = dfkd.load_student("teacher:6", teacher)
    own, theirs = student.state_dict(), teacher.network.state_dict()
    assert {f"module.{name}" for name in theirs} == set(own)
    for name, value in theirs.items():
        assert torch.equal(own[f"module.{name}"], value)
        assert own[f"module.{name}"].data_ptr() != value.data_ptr()
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_the_whole_side_answers_as_the_teacher(teacher: dfkd.Teacher) -> None:
    student = dfkd.load_student("teacher:8", teacher).eval()
    images = torch.rand(4, *teacher.spec.shape)
    torch.testing.assert_close(student(teacher.spec.normalize(images)), teacher(images))


def test_it_comes_back_from_its_file(teacher: dfkd.Teacher, tmp_path: Path) -> None:
    loaded = load_student_model("teacher:6", teacher)
    path = tmp_path / "student.safetensors"
    names = teacher.class_names
    save_artefact(path, loaded.network, loaded.factory, loaded.keywords, teacher.spec, names)
    again = dfkd.load_student(f"run:{tmp_path}", teacher).eval()
    images = torch.rand(4, *teacher.spec.shape)
    assert torch.equal(again(images), loaded.network.eval()(images))


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("teacher:0", "from 1 to the teacher's 8"),
        ("teacher:9", "from 1 to the teacher's 8"),
        ("teacher:half", "give the side in pixels"),
        ("teacher:6?weights=x.pth", "leave out the rest"),
        ("teacher:6?depth=3", "leave out the rest"),
    ],
)
def test_what_makes_no_sense_is_refused(teacher: dfkd.Teacher, uri: str, says: str) -> None:
    with pytest.raises(DfkdError, match=says):
        dfkd.load_student(uri, teacher)


def test_a_network_of_one_size_says_so() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    teacher = dfkd.Teacher(network, dfkd.ImageSpec(1, 8, 8))
    with pytest.raises(DfkdError, match="student"):
        dfkd.load_student("teacher:4", teacher)


def test_it_is_no_teacher() -> None:
    with pytest.raises(DfkdError, match="a student of another teacher"):
        dfkd.load_teacher("teacher:4")
