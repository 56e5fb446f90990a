"""Whatever a caller has set for torch, and whatever it hands in: it works, or one line says why."""

import copy

import pytest
import torch
from torch import nn

import dfkd
from dfkd.errors import DfkdError
from dfkd.networks.surroundings import own_surroundings
from dfkd.teacher.spec import ImageSpec
from support.methods import make_student, make_teacher, small

SPEC = ImageSpec(1, 8, 8)


def run(teacher, student, **settings):
    options = {"recipe": small("redraw"), "steps": 2, "device": "cpu", "batch_size": "32"}
    return dfkd.distill(teacher, student, **options | settings)


class Default:
    """A default that stands for the whole of a caller's program."""

    def __init__(self, setter, value, usual):
        self.setter, self.value, self.usual = setter, value, usual

    def __enter__(self):
        self.setter(self.value)

    def __exit__(self, *_):
        self.setter(self.usual)


SURROUNDINGS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64": lambda: Default(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: Default(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "meta": lambda: Default(torch.set_default_device, "meta", None),
    "meta within": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_call_computes_as_ever_and_leaves_all_as_it_was(name):
    teacher, students = make_teacher(), [make_student() for _ in range(2)]
    usual = run(teacher, students[0])
    with SURROUNDINGS[name]():
        before = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
        found = run(teacher, students[1])
        dfkd.probe(teacher)
        pictures = dfkd.invert(teacher, [0, 1], 2, steps=2).images
        assert before == (
            torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
        )  # fmt: skip
    assert pictures.dtype is torch.float32
    states = (usual.student.state_dict(), found.student.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_networks_that_were_built_under_another_default_are_taken(kind):
    with Default(torch.set_default_dtype, kind, torch.float32):
        result = run(make_teacher(), make_student())
    assert result.figures["student_steps"] == 2


def test_a_failure_leaves_all_as_it_was():
    @own_surroundings()
    def fail():
        assert torch.get_default_dtype() is torch.float32
        raise ZeroDivisionError

    with Default(torch.set_default_dtype, torch.float64, torch.float32):
        with pytest.raises(ZeroDivisionError):
            fail()
        assert torch.get_default_dtype() is torch.float64


def inferred():
    with torch.inference_mode():
        return copy.deepcopy(make_student())


FAULTS = {
    "teacher is a network": (
        lambda: run(make_student(), make_student()),
        r"dfkd\.Teacher\(network",
    ),
    "teacher is a text": (lambda: run("bundled:a", make_student()), r"load_teacher\('bundled:a'\)"),
    "teacher is none": (lambda: run(None, make_student()), "is a NoneType and must be"),
    "student is a text": (lambda: run(make_teacher(), "a:b"), r"dfkd\.load_student makes"),
    "student is a function": (lambda: run(make_teacher(), abs), "must be an nn.Module"),
    "network is a function": (lambda: dfkd.Teacher(abs, SPEC), "must be an nn.Module"),
    "spec is a tuple": (lambda: dfkd.Teacher(make_student(), (1, 8, 8)), r"dfkd\.ImageSpec"),
    "recipe is a mapping": (
        lambda: run(make_teacher(), make_student(), recipe={"method": "fast"}),
        r"dfkd\.recipe\(name",
    ),
    "half a step": (lambda: run(make_teacher(), make_student(), steps=2.5), "whole number"),
    "steps in words": (lambda: run(make_teacher(), make_student(), steps="2"), "not '2'"),
    "steps is true": (lambda: run(make_teacher(), make_student(), steps=True), "not True"),
    "teacher without weights": (
        lambda: run(dfkd.Teacher(make_student().to("meta"), SPEC), make_student()),
        "the teacher is on the meta device",
    ),
    "student without weights": (
        lambda: run(make_teacher(), make_student().to("meta")),
        "the student is on the meta device",
    ),
    "student of inference": (
        lambda: run(make_teacher(), inferred()),
        "the student was built under",
    ),
    "teacher of inference": (
        lambda: run(dfkd.Teacher(inferred(), SPEC), make_student()),
        "the teacher was built under",
    ),
    "invert of a network": (lambda: dfkd.invert(make_student(), [0], 1), r"dfkd\.Teacher\("),
    "classes in words": (lambda: dfkd.invert(make_teacher(), "01", 1), "whole numbers"),
    "probe of a network": (lambda: dfkd.probe(make_student()), r"dfkd\.Teacher\("),
    "evaluate a network": (lambda: dfkd.evaluate(make_student(), None), r"dfkd\.Teacher\("),
    "evaluate networks": (lambda: dfkd.evaluate({"a": make_student()}, None), "is a network"),
    "compare a network": (lambda: dfkd.compare(make_student(), make_student()), "is a network"),
    "sparse gradients": (
        lambda: run(make_teacher(), nn.Sequential(nn.Embedding(2, 2, sparse=True))),
        "sparse=False",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_handed_in_by_mistake_is_one_line(name):
    act, says = FAULTS[name]
    with pytest.raises(DfkdError, match=says) as refusal:
        act()
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) <= 300
