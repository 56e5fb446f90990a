"""What a run will come to, before it begins."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dfkd
from dfkd.cli import main
from dfkd.networks import resnet
from dfkd.recipes import override, recipe
from dfkd.runs.costs import Cost, Costs
from dfkd.runs.forecast import forecast, forecast_of, shortage
from dfkd.training.budget import Budget
from support.commands import STUDENT, TEACHER

FREE = Cost(0.0, 0.0)
# An update of 10 images by 4 passes takes 4 s, a step of 2 images half a second.
COSTS = Costs(FREE, FREE, Cost(0.0, 0.1), Cost(0.5, 0.0))
PLAN = override(
    recipe("deep_inversion"),
    ["synthesizer.batch_size=10", "synthesizer.iterations=4", "alternation.batch_size=2",
     "alternation.warmup_updates=2", "alternation.warmup_share=0.5",
     "alternation.steps_per_update=0", "learner.flip=0"],
)  # fmt: skip


def test_steps_are_what_the_updates_leave_time_for():
    each = forecast_of(PLAN, COSTS, Budget(minutes=1)).first_step / 2
    found = forecast(PLAN, each, 0.5, Budget(minutes=1), spent=10.0)
    assert found.updates == 2
    assert found.images == 20
    assert found.first_step == pytest.approx(10 + 2 * each)
    assert found.steps == int((60 - 10 - 2 * each) / 0.5)
    assert found.seconds == pytest.approx(60, abs=0.5)
    often = override(PLAN, ["alternation.steps_per_update=8"])
    turns = forecast(often, each, 0.5, Budget(minutes=1), spent=10.0)
    assert turns.steps == int((50 - 2 * each) / (0.5 + each / 8))
    assert turns.updates == 2 + turns.steps // 8


def test_a_budget_in_steps_is_made_and_takes_its_time():
    found = forecast_of(PLAN, COSTS, Budget(steps=100))
    assert found.steps == 100
    assert found.seconds == pytest.approx(found.first_step + 50)


@given(st.floats(0.1, 100))
def test_more_time_is_no_fewer_steps(minutes):
    poor, rich = (forecast_of(PLAN, COSTS, Budget(minutes=m)).steps for m in (minutes, 2 * minutes))
    assert rich >= poor


def test_what_is_short_is_said_with_what_would_do():
    budget = Budget(minutes=1)
    line = shortage(forecast_of(PLAN, COSTS, budget), budget)
    enough = int(line.partition("give about ")[2].split()[0])
    longer = Budget(minutes=enough)
    assert shortage(forecast_of(PLAN, COSTS, longer), longer) == ""
    assert shortage(forecast_of(PLAN, COSTS, Budget(steps=3)), Budget(steps=3)) == ""
    none = Costs(FREE, FREE, Cost(0.0, 9.0), Cost(0.5, 0.0))
    assert "far more time" in shortage(forecast_of(PLAN, none, budget), budget)


def test_a_plan_changes_nothing():
    teacher, student = dfkd.load_teacher(TEACHER), resnet(8, 1, 10, (4, 8, 16))
    before, print_ = copy.deepcopy(student.state_dict()), teacher.fingerprint()
    found = dfkd.plan(teacher, student, "drawings", steps=7)
    assert found.expected.steps == 7
    assert found.memory_bytes > 0
    assert teacher.fingerprint() == print_
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_dry_run_says_it_and_writes_nothing(tmp_path, capsys):
    words = ["distill", TEACHER, STUDENT, "--minutes", "0.05", "--dry-run"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "when mirrored" in shown
    assert "to be expected: " in shown
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").touch()
    assert main([*words, "--out", str(tmp_path / "file")]) == 2
