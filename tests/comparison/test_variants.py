"""What ``dfkd compare --vary`` compares: recipes by name, one for each thing that differs."""

import dataclasses

import pytest

from dfkd import recipes
from dfkd.comparison.tally import folder_name
from dfkd.comparison.variants import variants
from dfkd.errors import DfkdError
from dfkd.losses.objective import parse
from dfkd.losses.registry import KNOWLEDGE
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import SCHEMES


def test_methods_are_the_catalogue_or_those_named():
    assert tuple(variants("methods", None, None, [])) == tuple(METHODS)
    found = variants("methods", "nayer, fast", None, ["learner.flip=0"])
    assert list(found) == ["nayer", "fast"]
    assert all(plan.learner.flip == 0 for plan in found.values())


def test_every_kind_is_there_once_beside_kd_where_it_needs_that():
    found = variants("knowledge", None, None, [])
    assert len(found) == len(KNOWLEDGE)
    base = recipes.recipe("default")
    for kind, (name, plan) in zip(KNOWLEDGE, found.items(), strict=True):
        weights = parse(name)
        assert kind in weights
        assert set(weights) <= {"kd", kind}
        assert set(weights) == {kind} or weights[kind] == KNOWLEDGE[kind].weight
        distiller = dataclasses.replace(base.learner, knowledge=name)
        assert plan == dataclasses.replace(base, learner=distiller)


def test_expressions_and_method_can_be_chosen():
    found = variants("knowledge", "drawings", "kd, kd + 2*sp", [])
    assert list(found) == ["kd", "kd + 2*sp"]
    assert {plan.method for plan in found.values()} == {"drawings"}


def test_schemes_come_in_their_forms_if_one_teacher_is_enough():
    found = variants("scheme", None, None, ["learner.lr=0.5"])
    assert {name.partition(":")[0] for name in found} == {
        name for name, row in SCHEMES.items() if not row.wrapped_type
    }
    for name, plan in found.items():
        scheme, _, form = name.partition(":")
        assert plan.scheme == scheme
        assert plan.learner.lr == 0.5
        assert not form or plan.scheme_config.form == form


@pytest.mark.parametrize(
    ("vary", "assignment", "says"),
    [
        ("methods", "method=fast", "`set` method .* by `methods`"),
        ("knowledge", "learner.knowledge=mse", "`set` learner.knowledge .* by `only`"),
        ("scheme", "scheme=robust", "`set` scheme .* by `only`"),
        ("scheme", "scheme_config.form=ard", "by `only`, such as robust:ard"),
    ],
)
def test_what_rows_are_named_after_cannot_be_set(vary, assignment, says):
    with pytest.raises(DfkdError, match=says):
        variants(vary, None, None, [assignment])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("method", None, None), "`vary` must be"),
        (("methods", None, "kd"), "name methods with `methods`"),
        (("methods", "fast,fast", None), "twice"),
        (("methods", "fats", None), "fast"),
        (("methods", ",", None), "default,nayer"),
        (("knowledge", "fast,nayer", None), "one method"),
        (("knowledge", None, "kd + att"), "column 6"),
        (("knowledge", None, ","), "`only` wants"),
        (("scheme", None, "onlin"), "did you mean 'online'"),
        (("scheme", None, "robust:hard"), "robust has no form"),
        (("scheme", None, "offline,offline"), "twice"),
        (("scheme", None, "ensemble"), "add `teachers`"),
        (
            ("knowledge", None, "kd+hint,kd + hint"),
            "'kd.hint' and 'kd . hint' are one and the same",
        ),
        (("knowledge", None, "kd + hint,1*hint + kd"), "the same"),
        (("scheme", None, "adversarial,adversarial:"), "the same"),
        (("scheme", None, "self,self:exits"), "'self' and 'self:exits' are one and the same"),
    ],
)
def test_what_cannot_be_compared_is_refused(words, says):
    with pytest.raises(DfkdError, match=says):
        variants(*words, [])


def test_further_teachers_and_images_bring_the_schemes_that_want_them():
    plain = set(variants("scheme", None, None, []))
    assert set(variants("scheme", None, None, [], several=True)) == plain | {"ensemble"}
    found = variants("scheme", None, None, [], images=True)
    assert set(found) == plain | {"adversarial:images"}
    assert found["adversarial:images"].scheme_config.form == "images"


def test_settings_go_to_the_schemes_that_have_them():
    words = ["scheme_config.epsilon=0.1", "scheme_config.students=3", "learner.flip=0"]
    found = variants("scheme", None, "offline,online,robust,robust:ard", words)
    assert found["online"].scheme_config.students == 3
    assert [found[name].scheme_config.epsilon for name in ("robust", "robust:ard")] == [0.1, 0.1]
    assert all(plan.learner.flip == 0 for plan in found.values())
    pair = ["learner.pairs=[teacher.a=student.b]"]
    found = variants("knowledge", None, "kd,kd + hint", pair)
    assert [len(plan.learner.pairs) for plan in found.values()] == [0, 1]


@pytest.mark.parametrize(
    ("words", "assignment"),
    [
        (("scheme", None, "online,robust"), "scheme_config.epsilom=0.1"),
        (("scheme", None, "online,robust"), "scheme_config.students=1"),
        (("methods", "drawings,fast", None), "synthesizer.g_steps=3"),
    ],
)
def test_a_setting_that_suits_nobody_or_is_wrong_is_refused(words, assignment):
    with pytest.raises(DfkdError, match=r"does not suit (online|drawings)"):
        variants(*words, [assignment])


def test_folders_have_plain_names():
    assert folder_name("kd + 0.5*at") == "kd+0.5_at"
    assert folder_name("robust:ard") == "robust_ard"
    names = list(variants("knowledge", None, None, [])) + list(variants("scheme", None, None, []))
    assert len({folder_name(name) for name in names}) == len(names)
