"""The best student on the way: kept where the last one is clearly worse; early ends; resumes."""

import copy

import pytest
import torch
from torch import nn

import dfkd
from dfkd.evaluation.holding_out import Effort, hold_out
from dfkd.evaluation.validation import Candidate, Standing, Validation, clearly_better
from dfkd.loading import load_teacher
from dfkd.report.sentences import kept_from_before
from dfkd.runs.metrics import HeldOutAgreement
from dfkd.runs.selector import MOST_MARKS, Selector, marks_of
from dfkd.training.budget import Budget

SMALL = {"draws": 64, "refine_batch": 16, "refine_steps": 1}


@pytest.fixture(scope="module")
def teacher():
    return load_teacher("bundled:digits_vgg")


@pytest.fixture(scope="module")
def validation(teacher):
    return Validation(hold_out(teacher, Effort(128, 32, 3, 9)), teacher, blank(teacher, 1))


def blank(teacher, seed):
    torch.manual_seed(seed)
    return dfkd.load_student("dfkd.networks:vgg?widths=(8,16)", teacher)


def good(teacher):
    return copy.deepcopy(teacher.network)


@pytest.mark.parametrize(
    ("budget", "seconds", "count"),
    [
        (Budget(4.0, None), 0.1, MOST_MARKS),
        (Budget(4.0, None), 0.6, 4),
        (Budget(0.5, None), 1.0, 0),
        (Budget(None, 100), 1.0, 2),
        (Budget(None, 20), 1.0, 0),
        (Budget(None, 10_000), 9.0, MOST_MARKS),
    ],
)
def test_judging_on_the_way_takes_little(budget, seconds, count):
    marks = marks_of(budget, seconds)
    assert len(marks) == count
    assert all(0 < mark < 1 for mark in marks)
    assert list(marks) == sorted(marks)


def test_an_earlier_student_has_to_be_clearly_better(teacher, validation):
    best, last = good(teacher), blank(teacher, 2)
    selector = Selector(validation, lambda: None, (0.25, 0.5, 0.75))
    for mark, student in zip((0.25, 0.5, 0.75), (blank(teacher, 3), best, last), strict=True):
        selector.on_mark(mark, 10, 1.0, student)
    assert selector.best is not None
    assert (selector.best.share, selector.best.standing.agreement) == (0.5, 1.0)
    assert [row[0] for row in selector.way] == [0.25, 0.5, 0.75]
    verdict = validation.judged(last, before=selector.best)
    assert (verdict.kept.share, verdict.returned) == (0.5, False)
    said = HeldOutAgreement.of(verdict, selector.way)
    assert (said.kept, said.agreement) == ("way", 1.0)
    assert "50" in kept_from_before({"held_out": said.as_dict()})
    assert validation.judged(last, by_agreement=False, before=selector.best).student is last
    assert validation.judged(best, before=selector.best).kept.share == 1.0


def test_what_is_kept_no_longer_changes(teacher, validation):
    student = good(teacher)
    selector = Selector(validation, lambda: None, (0.5,))
    selector.on_mark(0.5, 1, 1.0, student)
    with torch.no_grad():
        next(student.parameters()).zero_()
    assert selector.best is not None
    assert next(selector.best.student.parameters()).abs().sum() > 0


def test_two_standard_errors_are_clear():
    one, other = Standing(0.9, 1.0, False), Standing(0.8, 1.0, False)
    assert clearly_better(one, other, 400)
    assert not clearly_better(one, other, 50)
    assert not clearly_better(other, one, 10_000)


def test_patience_ends_a_run_that_gains_no_more(teacher, validation):
    ended = []
    selector = Selector(validation, lambda: None, (0.2, 0.4, 0.6, 0.8), 2, lambda: ended.append(1))
    selector.on_mark(0.2, 1, 1.0, good(teacher))
    selector.on_mark(0.4, 2, 1.0, blank(teacher, 3))
    assert not ended
    selector.on_mark(0.6, 3, 1.0, blank(teacher, 3))
    assert ended


def test_a_run_ends_early_when_asked(teacher):
    student = blank(teacher, 0)
    settings = {"lr": 0.0, "patience": 1}  # nothing is learnt: the second mark is no better
    plan = dfkd.recipe("default", learner=settings, synthesizer=SMALL)
    result = dfkd.distill(teacher, student, plan, steps=300)
    assert result.metrics.student_steps < 250
    assert result.metrics.complete
    assert 2 <= len(result.metrics.held_out.way) < 6


def test_what_goes_on_has_judged_what_was_judged(teacher, validation):
    """As a checkpoint has it: the best student comes back, and no mark comes twice."""
    marks = (0.25, 0.5, 0.75)
    whole, first = (Selector(validation, lambda: None, marks) for _ in range(2))
    students = good(teacher), blank(teacher, 3), blank(teacher, 4)
    for mark, student in zip(marks, students, strict=True):
        whole.on_mark(mark, 1, 1.0, student)
    first.on_mark(0.25, 1, 1.0, students[0])
    # Judging may cost otherwise now: the points stay.
    resumed = Selector(validation, lambda: None, (0.6,), saved=first.state_dict())
    resumed.restore(blank(teacher, 9), good(teacher))
    assert resumed.marks == (0.5, 0.75)
    for mark, student in zip(resumed.marks, students[1:], strict=True):
        resumed.on_mark(mark, 1, 1.0, student)
    assert resumed.way == whole.way
    assert resumed.best is not None
    assert whole.best is not None
    assert resumed.best[1:] == whole.best[1:]
    states = (one.best.student.state_dict().values() for one in (resumed, whole))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_the_start_is_kept_before_the_way(teacher):
    validation = Validation(hold_out(teacher, Effort(128, 32, 3, 9)), teacher, good(teacher))
    worse: nn.Module = blank(teacher, 5)
    before = Candidate(worse, validation.standing(worse), 0.5, None)
    assert validation.judged(worse, before=before).returned


def test_a_run_that_goes_on_has_paid_for_its_judging(
    tiny_teacher, tiny_student, tmp_path, monkeypatch
):
    begin = Validation.__init__

    def dear(self, *arguments):
        begin(self, *arguments)
        self.seconds = 1000.0

    monkeypatch.setattr(Validation, "__init__", dear)
    options = {"recipe": dfkd.recipe("redraw", synthesizer=SMALL)}
    out = tmp_path / "run"
    first = dfkd.distill(tiny_teacher, tiny_student, steps=3, output=out, **options)
    assert 1000 < first.metrics.seconds.total < 1900
    again = dfkd.Output(out, resume=True)
    second = dfkd.distill(tiny_teacher, tiny_student, steps=6, output=again, **options)
    assert second.metrics.student_steps == 6
    assert 1000 < second.metrics.seconds.total < 1900
