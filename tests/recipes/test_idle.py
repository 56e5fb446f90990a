"""Settings that a command has no use for are refused by name, wherever they come from."""

import pytest
import torch

import dfkd
from dfkd.cli.entry import main
from dfkd.errors import DfkdError
from dfkd.recipes.idle import idle_settings
from dfkd.recipes.named import RECIPES
from dfkd.runs.checks import check_given
from dfkd.sets.order import SetOrder


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_as_it_is_has_nothing_idle(name):
    assert idle_settings(dfkd.recipe(name), ("method",)) == []
    if name != "adi":
        SetOrder(dfkd.recipe(name), per_class=1)
    check_given(dfkd.recipe(name), object())


SETS = [
    ("natural", {"learner": {"lr": 0.3}}, "learner.lr (0.3)"),
    ("sre2l", {"scheme": "online"}, "scheme (online)"),
    ("natural", {"seed": 3}, "seed (3)"),
    ("natural", {"synthesizer": {"adi": 1.0}}, "synthesizer.adi"),
    ("natural", {"init": "random"}, "init (random)"),
    ("redraw", {"scheme": "online"}, "scheme (online)"),
    ("redraw", {"trunk": "trained"}, "trunk (trained)"),
    ("redraw", {"learner": {"lr": 0.3}}, ""),
    ("natural", {"synthesizer": {"jitter": 3}}, ""),
]


@pytest.mark.parametrize(("method", "settings", "said"), SETS)
def test_what_a_set_would_ignore_is_refused(method, settings, said):
    recipe = dfkd.recipe(method, **settings)
    if not said:
        SetOrder(recipe, per_class=1)
        return
    with pytest.raises(DfkdError) as error:
        SetOrder(recipe, per_class=1)
    assert str(error.value).startswith(said)
    assert len(str(error.value)) <= 300


GIVEN = [
    ({"synthesizer": {"draws": 9}}, "synthesizer.draws (9)"),
    ({"alternation": {"steps_per_update": 3}}, "alternation.steps_per_update (3)"),
    ({"alternation": {"batch_size": 9}, "learner": {"lr": 0.1}, "seed": 4}, ""),
]


@pytest.mark.parametrize(("settings", "said"), GIVEN)
def test_what_given_images_would_ignore_is_refused(settings, said, tiny_teacher, tiny_student):
    recipe, images = dfkd.recipe("default", **settings), torch.rand(16, 1, 8, 8)
    if not said:
        check_given(recipe, images)
        return
    with pytest.raises(DfkdError) as error:
        dfkd.distill(tiny_teacher, tiny_student, recipe, steps=1, images=images)
    assert str(error.value).startswith(said)
    check_given(recipe, None)


STUDENT = "dfkd.networks:resnet?depth=8"
WORDS = [
    ("demo",), ("distill", "bundled:digits_vgg", STUDENT),
    ("compare", "bundled:digits_vgg", STUDENT, "--eval", "bundled:digits_vgg"),
    ("invert", "bundled:digits_vgg", "--classes", "1"),
    ("synthesize", "bundled:digits_vgg", "--per-class", "1"),
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS, ids=[words[0] for words in WORDS])
@pytest.mark.parametrize("given", [("--set", "learner.lr=1"), ("--set=learner.lr=1",)])
def test_a_second_value_after_one_set_is_told_how(words, given, capsys):
    assert main([*words, "--out", "o", *given, "learner.flip=0"]) == 2
    said = capsys.readouterr().err
    assert "each --set takes one value: write --set again before 'learner.flip=0'" in said


def test_a_word_too_many_elsewhere_is_no_setting(capsys):
    assert main(["distill", "bundled:digits_vgg", STUDENT, "third", "--out", "o"]) == 2
    assert "no use for 'third'" in capsys.readouterr().err
    words = ("distill", "bundled:digits_vgg", STUDENT, "--out", "o", "--pair", "a=b", "c=d")
    assert main(list(words)) == 2
    assert "write --pair again before 'c=d'" in capsys.readouterr().err
