"""Where a student starts, which of its layers stay the teacher's, and that they do."""

import copy

import pytest
import torch
from torch import nn

from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.student_init import shared_trunk, start_student
from dfkd.errors import DfkdError
from dfkd.networks import resnet, vgg
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

CASES = {
    # student, how many of its layers (convolutions, norms, linear) are a trunk
    "shallower": (resnet(8, 1, 4), 2 + 4),
    "its last stage is another": (resnet(20, 1, 4, (16, 32, 24), (3, 3, 1)), 2 + 12 + 14),
    "narrower": (resnet(20, 1, 4, (8, 16, 32)), 0),
    "the teacher itself": (resnet(14, 1, 4, blocks=(3, 3, 2)), 0),
    "another family": (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), 0),
}


def teacher():
    torch.manual_seed(0)
    return resnet(14, 1, 4, blocks=(3, 3, 2))


@pytest.mark.parametrize("case", CASES)
def test_the_trunk_is_what_student_and_teacher_share_from_the_input_on(case):
    student, layers = CASES[case]
    assert len(shared_trunk(teacher(), student)) == layers


def test_wrapped_networks_are_seen_through():
    wrapped = nn.DataParallel(resnet(8, 1, 4))
    assert len(shared_trunk(teacher(), wrapped)) == 6


def test_a_frozen_trunk_computes_what_the_teacher_computes_and_the_rest_learns():
    frozen = Teacher(teacher(), ImageSpec(1, 8, 8))
    student = resnet(20, 1, 4, (16, 32, 24), (3, 3, 1))
    start = start_student(student, frozen.network, "teacher", "frozen")
    before = copy.deepcopy(student)
    distiller = build_distiller(frozen, student, LearnerConfig(warmup=0.0), 0)
    for _ in range(3):
        distiller.update(Batch(torch.rand(8, 1, 8, 8)))
    for kept in (student, distiller.finished()):
        for name in ("conv1", "bn1", "layer1", "layer2"):
            ours, theirs = (n.get_submodule(name).state_dict() for n in (kept, frozen.network))
            assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    assert not torch.equal(before.layer3[0].conv1.weight, student.layer3[0].conv1.weight)
    assert not torch.equal(before.layer3[0].bn1.running_mean, student.layer3[0].bn1.running_mean)
    assert start.frozen == shared_trunk(frozen.network, student)


@pytest.mark.parametrize(
    ("mode", "trunk", "frozen"),
    [("teacher", "frozen", 6), ("teacher", "trained", 0), ("random", "frozen", 0)],
)
def test_only_copied_layers_are_frozen(mode, trunk, frozen):
    student = resnet(8, 1, 4)
    start = start_student(student, teacher(), mode, trunk)
    assert len(start.frozen) == frozen
    assert all(parameter.requires_grad for parameter in student.parameters()) == (not frozen)


@pytest.mark.parametrize(("mode", "trunk"), [("guess", "frozen"), ("auto", "molten")])
def test_unknown_words_are_refused(mode, trunk):
    with pytest.raises(DfkdError, match="must be"):
        start_student(resnet(8, 1, 4), teacher(), mode, trunk)


@pytest.mark.parametrize("keywords", [{"blocks": (1, 2)}, {"blocks": (1, 0, 1)}, {"widths": (8,)}])
def test_impossible_shapes_are_refused(keywords):
    with pytest.raises(ValueError, match="three widths and three blocks"):
        resnet(8, 1, 4, **keywords)


def test_a_start_tells_whether_somebody_trained_it():
    given = [vgg((8, 16), 1, 1, 4) for _ in range(2)]
    taught = vgg((8, 16), 1, 1, 4)
    given[1].load_state_dict(taught.state_dict())
    found = [start_student(one, taught, "given") for one in given]
    assert [one.teachers for one in found] == [False, True]
    assert all(one.trained for one in found)
    drawn = start_student(vgg((8, 16), 1, 1, 4), taught, "random")
    whole = start_student(vgg((8, 16), 1, 1, 4), taught, "teacher")
    part = start_student(vgg((8, 12), 1, 1, 4), taught, "teacher")
    assert [one.trained for one in (drawn, whole, part)] == [False, True, False]
