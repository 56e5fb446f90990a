"""The keywords of ``dfkd.recipe``: those of the dataclasses, and none that it would ignore."""

import dataclasses
from typing import get_args

import pytest

import dfkd
from dfkd.recipes import keywords
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import SCHEMES
from dfkd.synthesis.selection import SelectionConfig
from dfkd.training.budget import Alternation

GROUPS = {
    keywords.LearnerSettings: type(dfkd.recipe().learner),
    keywords.AlternationSettings: Alternation,
    keywords.SelectionSettings: SelectionConfig,
    keywords.OnlineSettings: type(SCHEMES["online"].config()),
    keywords.SelfSettings: type(SCHEMES["self"].config()),
    keywords.AdversarialSettings: type(SCHEMES["adversarial"].config()),
    keywords.RobustSettings: type(SCHEMES["robust"].config()),
    keywords.EnsembleSettings: type(SCHEMES["ensemble"].config()),
    keywords.CrossModalSettings: type(SCHEMES["cross_modal"].config()),
}


@pytest.mark.parametrize("group", GROUPS)
def test_the_keywords_are_the_fields(group):
    names = [field.name for field in dataclasses.fields(GROUPS[group])]
    assert list(group.__annotations__) == names


def test_the_names_are_those_of_the_registries():
    assert get_args(keywords.MethodName) == (*METHODS, "default")
    assert get_args(keywords.SchemeName) == tuple(SCHEMES)
    own = {field.name for field in dataclasses.fields(dfkd.Recipe)} - {"method"}
    assert set(keywords.RecipeSettings.__annotations__) == own


def test_settings_are_laid_over_the_recipe():
    plan = dfkd.recipe("fast", learner={"temperature": 4}, scheme="online", init="random")
    assert (plan.method, plan.learner.temperature, plan.init) == ("fast", 4.0, "random")
    more = plan.with_(scheme_config={"students": 3})
    assert (more.scheme_config.students, more.learner) == (3, plan.learner)
    assert plan.with_(learner=dfkd.recipe().learner).learner == dfkd.recipe().learner


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"scheme_config": {"students": 3}}, "has no setting 'students'; add `scheme=online`"),
        ({"learner": {"lrr": 1}}, "did you mean 'lr'"),
        ({"temperature": 1}, "did you mean 'learner.temperature'"),
        ({"init": "teachr"}, "init must be auto, teacher, random or given, not 'teachr'"),
        ({"synthesizer": {"g_steps": 1}}, "unknown key 'synthesizer.g_steps'"),
        (
            {"synthesizer": dfkd.recipe("fast").synthesizer},
            "a RedrawConfig here, not a FastConfig",
        ),
    ],
)
def test_what_would_be_ignored_is_refused(settings, says):
    with pytest.raises(dfkd.DfkdError, match=says):
        dfkd.recipe("default", **settings)
    with pytest.raises(ValueError, match=says):
        dfkd.recipe().with_(**settings)


def test_a_run_and_a_recipe_of_version_0_1_load():
    student = dfkd.load_teacher("run:tests/data/run_0_1")
    assert set(student.network.exits()) == {"exit 1", "exit 2"}
    text = (
        "distiller: {lr: 0.02}\nscheme: online\narrangement: {students: 3}\nrhythm: {batch_size: 9}"
    )
    plan = dfkd.recipes.override(dfkd.recipes.from_yaml(text), ["distiller.ema=0"])
    assert (plan.learner.lr, plan.learner.ema) == (0.02, 0)
    assert (plan.scheme_config.students, plan.alternation.batch_size) == (3, 9)


def test_every_public_name_is_there():
    assert all(hasattr(dfkd, name) for name in dfkd.__all__)
    assert [entry.name for entry in dfkd.list_methods()][: len(METHODS)] == list(METHODS)
