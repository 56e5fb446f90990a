"""What a command's words become: methods, schemes, files and settings laid over each other."""

import dataclasses

import pytest

from dfkd import recipes
from dfkd.cli.build_recipe import build_recipe
from dfkd.errors import DfkdError
from dfkd.recipes import recipe


def planned(tmp_path, text, **words):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return build_recipe(recipe("default"), config=path, **words)


def test_a_scheme_that_a_file_describes_keeps_its_settings(tmp_path):
    robust = "scheme: robust\narrangement: {epsilon: 0.1, steps: 3}\n"
    for scheme in (None, "robust"):
        plan = planned(tmp_path, robust, scheme=scheme)
        assert (plan.scheme, plan.scheme_config.epsilon, plan.scheme_config.steps) == (
            "robust",
            0.1,
            3,
        )
    plan = planned(tmp_path, "arrangement: {students: 4}\n", scheme="online")
    assert (plan.scheme, plan.scheme_config.students) == ("online", 4)


def test_what_a_file_says_of_another_scheme_is_not_meant(tmp_path):
    text = "scheme: robust\narrangement: {epsilon: 0.1}\ndistiller: {lr: 0.5}\n"
    plan = planned(tmp_path, text, scheme="online", assignments=("scheme_config.students=3",))
    assert (plan.scheme, plan.scheme_config.students, plan.learner.lr) == ("online", 3, 0.5)


def test_signals_are_not_turned_round_unless_one_says_so(tmp_path):
    flips = [
        build_recipe(recipe("default"), scheme="cross_modal"),
        build_recipe(recipe("nayer"), assignments=("scheme=cross_modal",)),
        planned(tmp_path, "scheme: cross_modal\n"),
        build_recipe(recipe("default"), scheme="cross_modal", assignments=("learner.flip=0.25",)),
        planned(tmp_path, "distiller: {flip: 0.25}\n", scheme="cross_modal"),
        build_recipe(recipe("default"), scheme="online"),
    ]
    assert [plan.learner.flip for plan in flips] == [0, 0, 0, 0.25, 0.25, None]


def test_another_method_changes_nothing_that_was_said_before():
    start = build_recipe(recipe("default"), scheme="robust", knowledge="kd + hint")
    start = dataclasses.replace(start, seed=3, init="random", trunk="trained")
    plan = recipes.override(start, ["method=nayer", "scheme_config.epsilon=0.1"])
    fresh = recipe("nayer")
    assert (plan.method, plan.synthesizer, plan.alternation) == (
        "nayer", fresh.synthesizer, fresh.alternation,
    )  # fmt: skip
    assert (plan.scheme, plan.scheme_config.epsilon) == ("robust", 0.1)
    assert plan.learner.knowledge == "kd + hint"
    assert (plan.seed, plan.init, plan.trunk) == (3, "random", "trained")
    # What nobody said anything of is the new method's own.
    assert recipes.override(recipe("default"), ["method=zskt"]) == recipe("zskt")


def test_a_seed_is_the_recipes_unless_one_is_named(tmp_path):
    assert planned(tmp_path, "seed: 5\n").seed == 5
    assert planned(tmp_path, "seed: 5\n", seed=0).seed == 0
    assert build_recipe(recipe("default"), assignments=("seed=5",)).seed == 5
    assert build_recipe(recipe("default")).seed == 0


def test_options_that_do_not_go_together():
    with pytest.raises(DfkdError, match="--scheme self"):
        build_recipe(recipe("default"), scheme="online", exits="keep")
    with pytest.raises(DfkdError, match="offline has no setting 'students'; add `scheme=o"):
        build_recipe(recipe("default"), assignments=("scheme_config.students=3",))
    with pytest.raises(DfkdError, match="did you mean 'students'"):
        build_recipe(recipe("default"), scheme="online", assignments=("scheme_config.student=3",))
    both = ("scheme_config.students=3", "scheme=online")
    assert build_recipe(recipe("default"), assignments=both).scheme_config.students == 3
