"""The accuracy that is predicted of a student, and where it agrees with its teacher."""

import copy
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

import dfkd
from dfkd.errors import DfkdError
from dfkd.evaluation.expected import (
    COVERAGE,
    expect_accuracy,
    expect_from_unlabelled,
    expected_of,
)
from dfkd.evaluation.fidelity import measure_fidelity
from dfkd.report import sentences
from dfkd.runs.distillation import distill

SHARES = st.floats(0.0, 1.0)


@given(st.floats(0.01, 1.0), SHARES)
def test_the_interval_is_around_the_middle_and_below_the_teacher(teacher, agreement):
    found = expect_accuracy(teacher, agreement)
    assert 0 <= found.low <= found.expected <= found.high <= teacher


@given(SHARES, SHARES)
def test_who_agrees_more_is_expected_to_be_better(one, other):
    low, high = (expect_accuracy(0.9, share).expected for share in sorted((one, other)))
    assert low <= high


def test_from_real_images_it_is_what_chance_leaves_open():
    found = expect_from_unlabelled(0.9, 0.8, 50)
    interval = binomtest(40, 50).proportion_ci(COVERAGE, "wilson")
    wanted = [0.9 * share for share in (interval.low, 0.8, interval.high)]
    assert list(found[:3]) == pytest.approx(wanted)


@pytest.mark.parametrize(("teacher", "agreement"), [(0.0, 0.5), (1.2, 0.5), (0.9, -0.1), (0.9, 2)])
def test_shares_outside_their_range_are_refused(teacher, agreement):
    for predict in (expect_accuracy, lambda *shares: expect_from_unlabelled(*shares, 10)):
        with pytest.raises(DfkdError, match="share"):
            predict(teacher, agreement)


def test_a_copy_agrees_everywhere(teacher, held_out):
    found = measure_fidelity(teacher, copy.deepcopy(teacher.network), held_out.judging())
    assert set(found.kinds) == {"patched", "pixels"}
    assert {*found.kinds.values(), *found.shaken.values()} == {1.0}
    assert {share for share in found.classes if share is not None} == {1.0}
    assert -1 < found.overconfidence <= 0  # always right, and not always sure


class Only(torch.nn.Module):
    """As the network, but surer, and but for one class, which it never gives."""

    def __init__(self, network, never):
        super().__init__()
        self.network, self.never = network, never

    def forward(self, images):
        logits = self.network(images)
        return (50 * logits).index_fill(1, torch.tensor([self.never]), -9999.0)


def test_the_class_that_is_lost_is_named(teacher, held_out):
    judging = held_out.judging()
    never = int(judging.logits.argmax(1).mode().values)
    found = measure_fidelity(teacher, Only(copy.deepcopy(teacher.network), never), judging)
    assert found.classes[never] == 0.0
    assert all(share in (None, 1.0) for c, share in enumerate(found.classes) if c != never)
    assert found.overconfidence > 0


def test_real_images_count_where_there_are_some(teacher, held_out):
    images = torch.randint(0, 256, (40, *teacher.spec.shape), dtype=torch.uint8)
    more = held_out.with_unlabelled(images, teacher).judging()
    found = measure_fidelity(teacher, copy.deepcopy(teacher.network), more)
    real, synthetic = (expected_of(0.9, found, one) for one in (more, held_out.judging()))
    assert real == expect_from_unlabelled(0.9, 1.0, 40)
    assert synthetic == expect_accuracy(0.9, 1.0)


def test_a_run_tells_what_it_is_worth(tiny_teacher, tiny_student, tmp_path):
    known = dfkd.Evaluation(teacher_accuracy=0.9, unlabelled=torch.rand(30, 1, 8, 8))
    out = tmp_path / "run"
    result = distill(tiny_teacher, tiny_student, "drawings", steps=2, evaluation=known, output=out)
    found = json.loads((out / "result.json").read_text())
    assert found["expected"]["low"] <= found["expected"]["expected"] <= found["expected"]["high"]
    assert found["fidelity"]["kinds"].keys() >= {"unlabelled", "patched"}
    assert found["student_accuracy"] is None
    used = json.loads((out / "manifest.json").read_text())["real_data"]
    assert used["used"]
    assert "to judge students by" in used["purpose"]
    assert "training" not in used["purpose"]
    page = (out / "report.html").read_text()
    assert "if the teacher has" in page
    assert sentences.highlights(found)[0][1] == "Expected accuracy"
    assert result.metrics.held_out.images == 30 + 2 * 128


def test_nothing_is_predicted_of_a_teacher_that_nobody_knows(tiny_teacher, tiny_student):
    assert distill(tiny_teacher, tiny_student, "drawings", steps=2).metrics.expected is None
