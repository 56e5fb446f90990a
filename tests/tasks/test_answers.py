"""Logits are found in whatever a network wraps them, and what was taken is said."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import dfkd
from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import predictions
from dfkd.evaluation.holding_out import Effort
from dfkd.loading import check_student
from dfkd.networks import initialise, vgg
from dfkd.tasks import Classification
from dfkd.tasks.answers import find_logits

SPEC = dfkd.ImageSpec(1, 8, 8)
PLAN = dfkd.recipe(
    "redraw", init="random", trunk="trained", learner={"flip": 0.0},
    synthesizer={"draws": 24, "refine_batch": 16, "refine_steps": 1},
)  # fmt: skip
LOGITS, AUX, HIDDEN = torch.arange(8.0).view(2, 4), torch.ones(2, 4), torch.ones(2, 7)


class Named(NamedTuple):
    logits: Tensor
    aux: Tensor


@dataclass
class Record:
    hidden: Tensor
    prediction: Tensor


class Output(OrderedDict):
    """As Hugging Face's: keys that are attributes as well, and a tuple by position."""

    def __getattr__(self, name):
        return self[name]


Unnamed = namedtuple("Unnamed", "a b")

FOUND = {
    "a tensor": (LOGITS, ""),
    "sides of one pixel": (LOGITS[..., None, None], ""),
    "one side of one pixel": (LOGITS[..., None], ""),
    "a tuple": ((LOGITS, AUX), "the first of 2 values"),
    "a list of one": ([LOGITS], "the first of 1 values"),
    "a tuple with features": ((LOGITS, HIDDEN), "(N x 4; `?answer=1` would be N x 7)"),
    "a named tuple": (Named(LOGITS, AUX), "the field 'logits' of a Named"),
    "a named tuple of other names": (Unnamed(LOGITS, AUX), "the first of 2 values"),
    "a dict": ({"aux": AUX, "out": LOGITS}, "the field 'out' of a dict"),
    "a dict with one tensor": ({"cls": LOGITS, "loss": None}, "the field 'cls' of a dict"),
    "the clearest of two": ({"out": AUX, "logits": LOGITS}, "the field 'logits'"),
    "a model output": (Output(loss=AUX.sum(), logits=LOGITS), "the field 'logits' of a Output"),
    "a dataclass": (Record(HIDDEN, LOGITS), "the field 'prediction' of a Record"),
    "an object": (SimpleNamespace(logits=LOGITS, hidden=HIDDEN), "the field 'logits'"),
    "wrapped twice": ({"out": (LOGITS, AUX)}, "the first of 2 values of the field 'out' of a dict"),
}


@pytest.mark.parametrize("case", FOUND)
def test_logits_are_found(case):
    raw, taken = FOUND[case]
    answer = find_logits(raw)
    assert torch.equal(answer.logits, LOGITS)
    assert taken in answer.taken
    assert bool(taken) == bool(answer.taken)


REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": (None, "a NoneType"),
    "a number": (3.0, "a float"),
    "an empty tuple": ((), "a tuple without values"),
    "an empty dict": ({}, "a dict without values"),
    "several unknown": ({"a": AUX, "b": LOGITS}, "a dict of a, b; call the answer `logits`"),
    "no tensor": (SimpleNamespace(loss=3), "a SimpleNamespace of loss;"),
    "a class": (Record, "a type"),
    "many": ({f"{'x' * 99}{i}": AUX for i in range(50)}, ", …;"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_holds_none_is_refused_with_the_fields_seen(case):
    raw, words = REFUSED[case]
    with pytest.raises(DfkdError) as caught:
        find_logits(raw)
    assert words in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_what_holds_itself_ends():
    value: list[Any] = []
    value.append(value)
    with pytest.raises(DfkdError, match="no logits"):
        find_logits(value)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(VALUES)
def test_any_value_without_tensors_is_one_line(value):
    with pytest.raises(DfkdError) as caught:
        find_logits(value)
    assert len(str(caught.value)) <= 300
    assert "\n" not in str(caught.value)


class Wraps(nn.Module):
    """A small network and what it makes of its logits, by its mode."""

    def __init__(self, end, classes=4):
        super().__init__()
        self.body, self.end = initialise(vgg((4, 8), 1, 1, classes), seed=0), end

    def forward(self, x):
        return self.end(self.body(x), self.training)


ENDS = {
    "dict": lambda y, training: {"logits": y},
    "tuple": lambda y, training: (y, 2 * y),
    "in training": lambda y, training: Named(y, 2 * y) if training else y,
    "record": lambda y, training: Record(y.mean(1), y),
    "maps": lambda y, training: y[..., None, None],
    "double": lambda y, training: y.double(),
    "half": lambda y, training: y.half(),
}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("dfkd.runs.sizes.unclocked", lambda spec: Effort(32, 16, 1, 1))


@pytest.mark.parametrize("end", ENDS)
def test_a_run_with_them_equals_one_with_the_logits_alone(end, quick):
    """Teacher and student, through folded copies, held-out images and figures."""
    found = []
    data = torch.rand(12, 1, 8, 8), torch.arange(12) % 4
    for wrap in (lambda y, training: y, ENDS[end]):
        teacher, student = dfkd.Teacher(Wraps(wrap), SPEC), Wraps(wrap)
        initialise(student, seed=5)
        result = dfkd.distill(teacher, student, PLAN, steps=2, evaluation=data)
        found.append(result)
    one, other = (predictions(r.student, SPEC, data[0]) for r in found)
    close = {"double": 1e-4, "half": 5e-2}.get(end, 0)
    torch.testing.assert_close(one, other, atol=close, rtol=close)
    if end != "half":
        assert found[0].metrics.student_accuracy == found[1].metrics.student_accuracy
    if end in ("dict", "tuple", "record"):
        assert any("is taken for its logits" in line for line in found[1].metrics.decisions)


def one_logit(y, training):
    return y[:, 1:] - y[:, :1]


BINARY = {
    "one logit": one_logit,
    "a vector": lambda y, training: one_logit(y, training)[:, 0],
    "a sigmoid": lambda y, training: one_logit(y, training).sigmoid(),
}


@pytest.mark.parametrize("end", BINARY)
def test_one_output_is_two_classes(end):
    whole = dfkd.Teacher(Wraps(lambda y, training: y, 2), SPEC)
    teacher = dfkd.Teacher(Wraps(BINARY[end], 2), SPEC, ["no", "yes"])
    images = torch.rand(16, 1, 8, 8)
    answers = teacher(images)
    assert teacher.class_names == ("no", "yes")
    assert teacher.task.probabilities is (end == "a sigmoid")
    assert not answers[:, 0].any()
    torch.testing.assert_close(answers.softmax(1), whole(images).softmax(1), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("end", BINARY)
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_binary_teacher_has_students_of_one_output_or_two(end, outputs, quick):
    teacher = dfkd.Teacher(Wraps(BINARY[end], 2), SPEC)
    data = torch.rand(12, 1, 8, 8), torch.arange(12) % 2
    student = vgg((4, 8), 1, 1, outputs)
    plan = PLAN.with_(learner=replace(PLAN.learner, knowledge="kd + cam"))
    result = dfkd.distill(teacher, student, plan, steps=2, evaluation=data, epsilon=0.1)
    assert 0 <= result.metrics.student_accuracy <= 1
    (line,) = (one for one in result.metrics.decisions if "one output" in one)
    assert ("sigmoid" in line) == (end == "a sigmoid")
    right = (teacher(data[0]).argmax(1) == data[1]).float().mean()
    assert result.metrics.teacher_accuracy == pytest.approx(float(right))


def test_a_student_of_one_probability_is_told_to_leave_the_sigmoid_away():
    teacher = dfkd.Teacher(Wraps(one_logit, 2), SPEC)
    check_student(Wraps(one_logit, 2), teacher)
    with pytest.raises(DfkdError, match="does it end in a sigmoid"):
        check_student(Wraps(BINARY["a sigmoid"], 2), teacher)


def test_an_untrained_logit_that_stays_near_a_half_is_no_sigmoid():
    network = Wraps(lambda y, training: 0.5 + 1e-3 * one_logit(y, training), 2)
    assert not dfkd.Teacher(network, SPEC).task.probabilities


@pytest.mark.parametrize("outputs", [3, 5])
def test_outputs_are_one_a_class_or_one_for_two(outputs):
    with pytest.raises(DfkdError, match="cannot be told from"):
        Classification(2, outputs=outputs)


@pytest.mark.parametrize("name", ["googlenet"])
def test_torchvisions_auxiliary_answers(name):
    from torchvision.models import get_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = get_model(name, weights=None, init_weights=False, num_classes=3)
    answer = find_logits(network.train()(torch.rand(2, 3, 96, 96)))
    assert answer.taken.startswith("the field 'logits' of a ")
    assert answer.logits.shape == (2, 3)
