"""What is said of teachers whose answers are out of the ordinary, and of none of the bundled."""

import pytest
import torch
from torch import nn

import dfkd
from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import predictions
from dfkd.evaluation.holding_out import Effort, hold_out
from dfkd.evaluation.peculiarities import find_peculiarities, unsteady
from dfkd.networks import initialise, vgg
from dfkd.teacher.folding import fold

QUICK = Effort(32, 16, 2, 6)
SPEC = dfkd.ImageSpec(1, 8, 8)


class Ends(nn.Module):
    """A small network, and what it does with its logits at the end."""

    def __init__(self, end, before=lambda x: x):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.end, self.before = vgg((8, 16), 1, 1, 4), end, before
        with torch.no_grad():  # it remembers images such as it is shown
            self.body.train()
            for _ in range(40):
                self.body(torch.rand(32, 1, 8, 8))

    def forward(self, x):
        return self.end(self.body(self.before(x)))


def noisy(x):
    return x + x.std() * torch.randn_like(x)


def without_graph(x):
    return x.detach()


SAID = {
    "softmax": (Ends(lambda x: x.softmax(1)), "the log of its probabilities"),
    "log-softmax": (Ends(lambda x: x.log_softmax(1)), "its log-probabilities are taken"),
    "draws": (Ends(noisy), "differently from call to call"),
    "detached": (Ends(without_graph), "carry no gradient to the image"),
    "bytes": (Ends(lambda x: x, lambda x: x / 255), "does it take 0 to 255"),
}
REFUSED = {
    "constant": (Ends(lambda x: 0 * x + torch.arange(4.0)), "answers all 64 images alike"),
    "sigmoid": (Ends(lambda x: torch.sigmoid(40 * (x - x.mean()))), "sigmoids' of labels"),
}


def peculiarities(network, spec=SPEC):
    teacher = dfkd.Teacher(network, spec)
    return find_peculiarities(teacher, hold_out(teacher, QUICK))


@pytest.mark.parametrize("name", SAID)
def test_each_is_said_in_one_line(name):
    network, line = SAID[name]
    (said,) = peculiarities(network)
    assert line in said
    assert len(said) <= 300


def test_who_answers_by_chance_is_told_so_without_held_out_images():
    teacher = dfkd.Teacher(Ends(noisy), SPEC)
    assert "differently from call to call" in unsteady(teacher)
    assert unsteady(dfkd.load_teacher("bundled:digits_vgg")) == ""
    assert set(fold(teacher).reasons.values()) == {
        "the network answers the same images differently from call to call"
    }


@pytest.mark.parametrize("name", REFUSED)
def test_what_teaches_nothing_is_refused(name):
    network, line = REFUSED[name]
    with pytest.raises(DfkdError, match=line):
        peculiarities(network)


def test_an_ordinary_network_is_passed_over_in_silence():
    assert peculiarities(Ends(lambda x: x)) == ()


@pytest.mark.parametrize("name", ["fashion_resnet20", "digits_vgg", "vowels_vgg"])
def test_so_are_the_bundled_teachers(name):
    teacher = dfkd.load_teacher(f"bundled:{name}")
    assert find_peculiarities(teacher, hold_out(teacher, QUICK)) == ()


@pytest.mark.parametrize("method", ["redraw", "drawings"])
def test_a_teacher_that_ends_in_a_softmax_teaches_as_one_that_does_not(method):
    """The same run twice: of probabilities, and of their log."""
    shown = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    answers = []
    for end in (lambda x: x.log_softmax(1), lambda x: x.softmax(1)):
        student = initialise(vgg((4, 8), 1, 1, 4), seed=0)
        plan = dfkd.recipe(method, init="random", trunk="trained", learner={"flip": 0.0})
        result = dfkd.distill(dfkd.Teacher(Ends(end), SPEC), student, plan, steps=3)
        answers.append(predictions(result.student, SPEC, shown))
    torch.testing.assert_close(*answers, atol=1e-3, rtol=1e-3)


class WithoutGraph(Ends):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


def test_a_teacher_that_gives_no_gradient_teaches_by_drawings_and_refuses_the_rest():
    teacher = dfkd.Teacher(WithoutGraph(lambda x: x), SPEC)
    assert not teacher.differentiable
    advice = dfkd.probe(teacher).advice
    assert "stay uncorrected" in advice("redraw").reason
    assert not advice("dafl").possible
    result = dfkd.distill(teacher, vgg((4, 8), 1, 1, 4), steps=2)
    assert any("carry no gradient" in line for line in result.metrics.decisions)
    for work in (
        lambda: dfkd.distill(teacher, vgg((4, 8), 1, 1, 4), dfkd.recipe("dafl"), steps=2),
        lambda: dfkd.invert(teacher, [0], count=2, steps=2),
    ):
        with pytest.raises(DfkdError, match=r"take no_grad\(\) or detach\(\) out"):
            work()


def test_one_whose_statistics_carry_it_is_corrected_by_them():
    assert dfkd.Teacher(SAID["detached"][0], SPEC).differentiable


def test_a_student_that_ends_in_a_softmax_is_told_to_leave_it_away():
    teacher = dfkd.Teacher(Ends(lambda x: x), SPEC)
    with pytest.raises(DfkdError, match="the student ends in a softmax"):
        dfkd.distill(teacher, SAID["softmax"][0], steps=1)


def test_a_run_says_it_and_records_it(tmp_path):
    teacher = dfkd.Teacher(Ends(lambda x: x.softmax(1)), SPEC)
    result = dfkd.distill(teacher, vgg((4, 8), 1, 1, 4), steps=1, output=tmp_path / "run")
    (line,) = (line for line in result.metrics.decisions if "softmax" in line)
    assert line in (tmp_path / "run" / "manifest.json").read_text()
    assert line in (tmp_path / "run" / "report.html").read_text()
