"""Methods whose teacher answers a limited number of times."""

import copy

import pytest
import torch

import dfkd
from dfkd import recipes
from dfkd.access.opening import open_local
from dfkd.access.teacher import meter_of
from dfkd.evaluation.holding_out import EFFORTS
from dfkd.runs.asking import check_asking, fit_effort, fit_recipe, told_queries
from dfkd.runs.prepare import build_source
from dfkd.training.budget import Budget
from support.methods import make_student, make_teacher, same, small


def source_of(method, budget, ledger=None, resume=False):
    teacher = open_local(make_teacher(), "probs", budget, ledger)
    meter_of(teacher).begin("run", resume)
    return teacher, build_source(small(method), teacher, None)


@pytest.mark.parametrize("method", ["redraw", "drawings", "dfme", "disguide"])
def test_the_budget_is_kept_and_earlier_images_come_again(method):
    teacher, source = source_of(method, 60)
    meter, student = meter_of(teacher), make_student()
    for _ in range(8):
        source.update(student)
        batch = source.sample(20)
        assert batch.inputs.shape == (20, 1, 8, 8)
        assert batch.prediction is not None
    assert 40 < meter.position <= 60
    assert meter.ledger.counted() == meter.position
    # Cached answers are the teacher's, to the images as they are handed out.
    inner = meter.endpoint.teacher
    expected = inner(batch.inputs).log_softmax(1).clamp_min(-13.8)
    found = batch.prediction.logits.log_softmax(1)
    torch.testing.assert_close(found, expected.log_softmax(1), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("method", ["redraw", "drawings", "disguide"])
def test_a_run_that_goes_on_pays_nothing_twice(method, tmp_path):
    student = make_student()
    teacher, whole = source_of(method, 90, tmp_path / "one")
    whole.update(student)
    whole.sample(20)
    state = copy.deepcopy(whole.state_dict())

    def rest(source):
        found = []
        for _ in range(5):
            source.update(student)
            found.append(source.sample(16))
        return found

    expected, paid = rest(whole), meter_of(teacher).ledger.counted()
    later, source = source_of(method, 90, tmp_path / "one", resume=True)
    source.load_state_dict(state)
    assert same(rest(source), expected)
    assert meter_of(later).ledger.counted() == paid
    assert meter_of(later).position == meter_of(teacher).position


def test_finished_runs_ask_nothing_more():
    teacher, source = source_of("drawings", 100)
    source.sample(10)
    meter_of(teacher).finish()
    assert len(source.sample(30).inputs) == 30
    assert meter_of(teacher).position == 11  # with the trial's


def test_random_images_are_labelled_within_the_budget():
    teacher = open_local(make_teacher(), "top1", 30)
    meter_of(teacher).begin("run", resume=False)
    pixels = torch.randint(256, (50, 1, 8, 8), dtype=torch.uint8)
    images = dfkd.datasets.as_given_images(pixels, teacher.spec)
    source = build_source(small("drawings"), teacher, images)
    assert len(source.bank) == 29
    assert meter_of(teacher).left == 0


@pytest.mark.parametrize("budget", [200, 1000, 10_000, 100_000])
def test_judging_takes_a_small_part(budget):
    teacher = open_local(make_teacher(), "probs", budget)
    effort, line = fit_effort(EFFORTS[0], meter_of(teacher))
    asked = 4 * effort.draws + effort.images
    assert asked <= 0.25 * budget
    assert asked <= 0.1 * budget or budget < 1000
    assert f"{asked:,}" in line


def test_a_drawing_method_asks_all_by_the_middle_of_the_run():
    teacher = open_local(make_teacher(), "probs", 1000)
    recipe = fit_recipe(recipes.recipe("default"), meter_of(teacher), Budget(steps=800), 0.0)
    drawn, rhythm = recipe.synthesizer.draws, recipe.alternation
    assert rhythm.warmup_updates * drawn >= 490
    assert (rhythm.warmup_updates + 400 // rhythm.steps_per_update) * drawn >= 990
    assert recipe.synthesizer.capacity >= 1000


@pytest.mark.parametrize(
    ("settings", "queries", "processes", "words"),
    [
        ({"scheme": "robust"}, None, 1, "asks the teacher anew in every step"),
        ({}, None, 2, "leave `devices` out"),
        ({}, 20, 1, "`queries` must be 100"),
    ],
)
def test_runs_that_would_ask_too_much(settings, queries, processes, words):
    teacher = open_local(make_teacher(), "probs", queries)
    recipe = recipes.recipe("default", **settings)
    with pytest.raises(dfkd.DfkdError, match=words):
        check_asking(recipe, teacher, processes)
    check_asking(recipe, make_teacher(), 2)  # one that nobody counts


@pytest.mark.parametrize("method", ["fast", "dfad"])
def test_methods_that_look_inside_are_refused(method):
    teacher = open_local(make_teacher(), "probs")
    with pytest.raises(dfkd.DfkdError, match="only answers are seen \\(`access=probs`\\)"):
        build_source(small(method), teacher, None)


def test_a_run_ends_with_its_account(tmp_path):
    teacher = open_local(make_teacher(), "probs", 300, tmp_path / "ledger")
    recipe = small("drawings")
    result = dfkd.distill(teacher, make_student(), recipe, steps=12, output=tmp_path / "run")
    account = result.metrics.queries
    assert account["asked"].keys() == {"trial", "held out", "training"}
    assert sum(account["asked"].values()) == account["counted"] <= 300
    assert account["counted"] == meter_of(teacher).endpoint.count()
    (line,) = told_queries(account)
    assert "of 300 asked (trial 1, held out" in line
    assert '"queries"' in (tmp_path / "run" / "manifest.json").read_text()
