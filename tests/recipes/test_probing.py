"""What a probe says of teachers with, without and with untouched statistics."""

import dataclasses
from contextlib import nullcontext

import pytest
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.loading import load_teacher
from dfkd.networks import resnet
from dfkd.recipes.methods import METHODS
from dfkd.recipes.probe import probe
from dfkd.recipes.schemes import build_distiller
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec


def without_statistics() -> Teacher:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    return Teacher(network, ImageSpec(1, 8, 8))


def test_a_trained_teacher_allows_every_method_but_those_of_transformers() -> None:
    found = probe(load_teacher("bundled:fashion_resnet20"))
    assert found.parameters == 272_186
    assert found.spec.shape == (1, 28, 28)
    assert found.class_names[-1] == "Ankle boot"
    assert found.network == "ResNet"
    assert {one.name for one in found.methods if not one.possible} == {"smi"}
    assert [layer.channels for layer in found.layers][:2] == [16, 16]
    assert {layer.kind for layer in found.layers} == {"BatchNorm2d"}
    assert all(layer.updated for layer in found.layers)


def test_without_statistics_the_methods_that_read_none_are_left() -> None:
    found = probe(without_statistics())
    assert found.layers == ()
    assert {advice.name for advice in found.methods if advice.possible} == {
        "redraw", "drawings", "dafl", "dfad", "dfme", "disguide", "zskt", "pre"
    }  # fmt: skip
    assert "no layer stores" in found.advice("nayer").reason


class EndsInConvolution(nn.Module):
    """Statistics and maps, and no linear layer; ``flat``: a linear layer, and no map either."""

    def __init__(self, flat: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64) if flat else nn.BatchNorm2d(1)
        self.norm.running_mean.fill_(0.1)
        self.last = nn.Linear(64, 5) if flat else nn.Conv2d(1, 5, 3)
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.norm(x.flatten(1) if self.flat else x))
        return x if self.flat else x.mean((2, 3))


SPEC, LOOKS = ImageSpec(1, 8, 8), "looks at its linear classifier, head"


def test_what_a_method_looks_at_must_be_there() -> None:
    found = probe(Teacher(EndsInConvolution(), SPEC))
    for method in ("spaceship", "dafl", "pre"):
        assert not found.advice(method).possible
        assert "no linear layer with 5 outputs" in found.advice(method).reason
        assert "`method=default`" in found.advice(method).reason
    assert found.advice("zskt").possible
    found = probe(Teacher(EndsInConvolution(flat=True), SPEC))
    for method in ("spaceship", "zskt"):
        assert not found.advice(method).possible
        assert "knowledge=kd" in found.advice(method).reason
        assert "chosen" not in found.advice(method).reason
    assert found.advice("dafl").possible


def test_it_says_what_is_looked_at() -> None:
    found = probe(load_teacher("bundled:digits_vgg"))
    assert found.advice("dfad").reason == "needs only the teacher's answers"
    for method in ("dafl", "pre"):
        assert found.advice(method).reason == LOOKS
    sizes = "the student needs feature maps of one of its sizes, 8x8, 4x4, 2x2"
    assert found.advice("zskt").reason == sizes
    reason = found.advice("spaceship").reason
    assert reason == f"6 layers remember statistics of the training data; {LOOKS}; {sizes}"


@pytest.mark.parametrize("method", ["spaceship", "zskt"])
@pytest.mark.parametrize("flat", [False, True])
def test_the_advice_is_what_a_run_enforces(method: str, flat: bool) -> None:
    teacher, student = (Teacher(EndsInConvolution(flat), SPEC) for _ in range(2))
    possible = probe(teacher).advice(method).possible
    with nullcontext() if possible else pytest.raises(DfkdError):
        build_distiller(teacher, student.restore(), METHODS[method].learner, 0)


def test_untouched_statistics_are_worth_nothing() -> None:
    found = probe(Teacher(resnet(8, 1, 10), ImageSpec(1, 28, 28)))
    assert found.layers
    assert not any(layer.updated for layer in found.layers)
    assert not found.advice("deep_inversion").possible
    assert "weights missing" in found.advice("deep_inversion").reason


def test_the_probe_changes_nothing_and_is_a_value() -> None:
    teacher = load_teacher("bundled:digits_vgg")
    before = teacher.fingerprint()
    first, second = probe(teacher), probe(teacher)
    assert first == second
    assert first.fingerprint == before == teacher.fingerprint()
    assert dataclasses.asdict(first)["spec"]["height"] == 8


def test_every_method_gets_advice() -> None:
    assert {advice.name for advice in probe(without_statistics()).methods} == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_the_advice_is_what_the_methods_enforce(method: str) -> None:
    teacher, row = without_statistics(), METHODS[method]
    possible = probe(teacher).advice(method).possible
    with nullcontext() if possible else pytest.raises(DfkdError, match=r"stores none|left out"):
        row.build(teacher, row.config(), 0)
