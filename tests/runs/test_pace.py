"""Work cut to the budget: sizes follow what the pieces cost, and stay where they fit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfkd.evaluation.holding_out import EFFORTS
from dfkd.recipes import recipe
from dfkd.recipes.methods import METHODS
from dfkd.runs import costs, pace
from dfkd.runs.costs import Cost, Costs
from dfkd.runs.pace import paced, step_seconds, update_seconds

FREE = Costs(*(Cost(0.0, 1e-9) for _ in range(4)))
DEAR = Costs(Cost(0.0, 0.01), Cost(0.0, 0.01), Cost(0.0, 0.03), Cost(0.05, 0.01))
"""About what 224 x 224 pixels cost two cores."""


@pytest.mark.parametrize("name", METHODS)
def test_what_costs_nothing_keeps_its_sizes(name):
    assert paced(recipe(name), FREE, 60.0) == recipe(name)


@pytest.mark.parametrize("name", METHODS)
def test_dear_work_is_cut_until_the_student_can_learn(name):
    plan = paced(recipe(name), DEAR, 240.0)
    assert update_seconds(plan, DEAR) <= METHODS[name].share * 240
    turns = plan.alternation.steps_per_update
    if turns and pace.STEPS * (step_seconds(plan, DEAR) + update_seconds(plan, DEAR) / turns) > 240:
        assert turns * step_seconds(plan, DEAR) >= update_seconds(plan, DEAR)
    assert plan.alternation.batch_size >= min(
        pace.SMALLEST_BATCH, recipe(name).alternation.batch_size
    )


price = st.builds(Cost, st.floats(0, 1), st.floats(1e-6, 1))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(METHODS)), st.builds(Costs, price, price, price, price),
    st.floats(1, 1e4), st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_pacing_ends_and_never_enlarges(name, costs, seconds, processes):
    before = recipe(name)
    after = paced(before, costs, seconds, processes)
    assert update_seconds(after, costs) <= update_seconds(before, costs) + 1e-9
    assert after.alternation.batch_size <= before.alternation.batch_size
    assert after.alternation.batch_size % processes == 0
    assert bool(after.alternation.steps_per_update) is bool(before.alternation.steps_per_update)
    assert paced(after, costs, seconds, processes).synthesizer == after.synthesizer


@settings(deadline=None)
@given(st.floats(1, 1e5))
def test_more_time_asks_no_less(seconds):
    order = list(EFFORTS)
    poor, rich = (order.index(pace.effort(DEAR, time)) for time in (seconds, 2 * seconds))
    assert rich <= poor


def test_costs_are_those_of_the_clock(monkeypatch):
    """A piece of fixed + n each, on a clock that only the piece moves."""
    now = [0.0]
    monkeypatch.setattr(costs.time, "perf_counter", lambda: now[0])

    def work(count):
        now[0] += 0.02 + 0.003 * count

    found = costs._cost(work)
    assert found.fixed == pytest.approx(0.02)
    assert found.each == pytest.approx(0.003)
    assert costs._cost(lambda count: now.__setitem__(0, now[0] + count)).each == pytest.approx(1)


def test_measuring_changes_neither_network_nor_chance(tiny_teacher, tiny_student):
    before = {k: v.clone() for k, v in tiny_student.state_dict().items()}
    print_before, chance = tiny_teacher.fingerprint(), torch.get_rng_state()
    tiny_student.train()
    found = costs.measure_costs(tiny_teacher, tiny_student)
    assert all(cost(100) > 0 for cost in found)
    assert all(torch.equal(v, before[k]) for k, v in tiny_student.state_dict().items())
    assert tiny_teacher.fingerprint() == print_before
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(p.grad is None for p in tiny_student.parameters())


def test_smaller_updates_come_as_much_oftener():
    """A student's batch has the same share of new images as in the recipe."""
    before, after = recipe("default"), paced(recipe("default"), DEAR, 600.0)
    new = [p.synthesizer.draws / p.alternation.steps_per_update / p.alternation.batch_size
           for p in (before, after)]  # fmt: skip
    assert after.synthesizer.draws < before.synthesizer.draws
    assert new[1] == pytest.approx(new[0], rel=0.35)


def test_a_run_goes_on_with_the_sizes_that_it_was_given(
    tiny_teacher, tiny_student, tmp_path, monkeypatch
):
    """Whatever the pieces cost in another session: nothing is measured anew, nothing refused."""
    import copy

    from dfkd.runs import sizes
    from dfkd.runs.distillation import distill

    dear = Costs(Cost(0.0, 0.01), Cost(0.0, 0.01), Cost(0.0, 0.03), Cost(0.001, 1e-4))
    monkeypatch.setattr(sizes, "measure_costs", lambda *_: dear)
    options = {"out": tmp_path / "run", "batch_size": "auto", "precision": "fp32"}
    first = distill(tiny_teacher, copy.deepcopy(tiny_student), minutes=0.05, **options)
    assert any("sized to the budget" in line for line in first.figures["decisions"])
    monkeypatch.setattr(sizes, "measure_costs", lambda *_: FREE)
    again = distill(tiny_teacher, copy.deepcopy(tiny_student), minutes=0.1, resume=True, **options)
    assert again.figures["decisions"] == first.figures["decisions"]
    assert again.figures["student_steps"] > first.figures["student_steps"] > 0


def test_a_teacher_is_shown_no_more_images_than_it_is_to_take(tiny_teacher, tiny_student):
    from dfkd.runs.distillation import distill

    seen = []
    tiny_teacher.network.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
    distill(tiny_teacher, tiny_student, method="drawings", steps=1, batch_size="8")
    assert max(seen) <= 64  # of measuring, which halves what a network refuses
