"""Other people's networks, one row each: as teacher and as student, from the door to the file."""

import pytest
import torch

import dfkd
from dfkd.datasets import LabelledImages
from dfkd.networks.fingerprint import fingerprint
from dfkd.recipes.probe import probe
from dfkd.runs.inversion import invert
from dfkd.teacher import Teacher
from dfkd.teacher.layout import layout_of
from dfkd.training.checkpoint import load
from support.methods import small
from support.networks import HELD, NETWORKS, SPEC, Sized, seasoned

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")


CONTIGUOUS = ("view", "conv3d")


def quick():
    return small("redraw")


def real(count=90):
    images = torch.randint(0, 255, (count, 1, 8, 8), dtype=torch.uint8)
    return LabelledImages(images, torch.arange(count) % 4, "noise")


def modes(network):
    return [module.training for module in network.modules()]


@pytest.mark.parametrize("name", NETWORKS)
def test_as_a_teacher(name, tiny_student, tmp_path):
    network = seasoned(name)
    came, kinds, before = modes(network), list(map(type, network.modules())), fingerprint(network)
    teacher = Teacher(network, SPEC)
    assert bool(teacher.held) == (name in HELD)
    images = torch.rand(5, 1, 8, 8)
    expected = teacher(images)
    facts = probe(teacher)
    assert {layer.unfolded for layer in facts.layers if name in HELD} <= {teacher.held}
    result = dfkd.distill(
        teacher, tiny_student, recipe=quick(), steps=2, evaluation=real(), device="cpu",
        batch_size="32", out=tmp_path / "run",
    )  # fmt: skip
    assert result.figures["student_steps"] == 2
    assert layout_of(network) is (
        torch.contiguous_format if name in CONTIGUOUS else torch.channels_last
    )
    torch.testing.assert_close(teacher(images), expected, rtol=1e-3, atol=1e-4)
    picture = invert(teacher, [0, 1], 2, steps=2)
    assert picture.shape == (2, 1, 8, 8)
    assert fingerprint(network) == before
    assert teacher.restore() is network
    assert modes(network) == came
    assert list(map(type, network.modules())) == kinds
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_as_a_student(name, tiny_teacher, tmp_path):
    student = seasoned(name)
    start = {key: value.clone() for key, value in student.state_dict().items()}
    result = dfkd.distill(
        tiny_teacher, student, recipe=quick(), steps=2, evaluation=real(), device="cpu",
        batch_size="32", out=tmp_path / "run", curve=2, init="random",
    )  # fmt: skip
    still = {name for name, p in student.named_parameters() if torch.equal(p, start[name])}
    assert not still
    assert (tmp_path / "run" / "student.safetensors").is_file()
    assert load(tmp_path / "run" / "checkpoint")
    kept = result.student
    assert not any(modes(kept))
    images = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        answers = kept(SPEC.normalize(images))
    state = kept.state_dict()
    assert answers.shape == (3, 4)
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())


def test_a_student_of_no_length_goes_on_where_it_was(tiny_teacher, tmp_path):
    torch.manual_seed(0)
    states = []
    for steps, resume in ((1, False), (3, True)):
        torch.manual_seed(0)
        result = dfkd.distill(
            tiny_teacher, Sized(), recipe=quick(), steps=steps, device="cpu",
            out=tmp_path / "run", resume=resume,
        )  # fmt: skip
        states.append(result.student.state_dict())
    assert result.figures["student_steps"] == 3
    assert not torch.equal(states[0]["conv.weight"], states[1]["conv.weight"])
