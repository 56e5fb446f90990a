"""Recipes as data: round trips, overrides, and what they refuse."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfkd import recipes
from dfkd.errors import DfkdError
from dfkd.recipes.methods import METHODS
from dfkd.recipes.named import with_round
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_yaml_round_trip(name):
    value = recipes.recipe(name)
    assert recipes.from_yaml(recipes.to_yaml(value)) == value


@given(st.floats(1e-6, 10), st.integers(1, 4096), st.sampled_from(["adamw", "sgd"]))
def test_overrides_round_trip(lr, batch_size, optimizer):
    value = recipes.override(
        recipes.recipe("default"),
        [
            f"learner.lr={lr!r}",
            f"alternation.batch_size={batch_size}",
            f"learner.optimizer={optimizer}",
        ],
    )
    assert (value.learner.lr, value.alternation.batch_size) == (lr, batch_size)
    assert recipes.from_yaml(recipes.to_yaml(value)) == value


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("distiller.lrr=1", "did you mean 'lr'"),
        ("lerner.lr=1", "did you mean 'learner'"),
        ("distiller=3", "group of settings"),
        ("learner.lr=fast", "learner.lr"),
        ("learner.lr", "key=value"),
        ("alternation.batch_size=[", "cannot read"),
        ("method=nayr", "did you mean 'nayer'"),
        ("synthesizer.elites=0", "elites"),
        ("lr=0.1", "unknown key 'lr'; did you mean 'learner.lr'"),
    ],
)
def test_bad_settings_name_the_nearest(assignment, message):
    with pytest.raises(DfkdError, match=message):
        recipes.override(recipes.recipe("default"), [assignment])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("learner.lr=-1", r"lr must be in \[0, inf\), not -1"),
        ("learner.lr=nan", "learner.lr: .*finite number, not 'nan'"),
        ("learner.weight_decay=-1", "weight_decay must be"),
        ("learner.warmup=-1", "warmup must be"),
        ("learner.flip=2", r"flip must be in \[0, 1\], not 2"),
        ("learner.ema=1", r"ema must be in \[0, 1\), not 1"),
        ("learner.temperature=0", r"temperature must be in \(0, inf\), not 0"),
        ("distiller.temperature_end=-2", "temperature_end must be"),
        ("alternation.batch_size=0", "batch_size must be"),
        ("alternation.steps_per_update=-1", "steps_per_update must be"),
        ("alternation.warmup_updates=-1", "warmup_updates must be"),
        ("alternation.warmup_share=1.5", "warmup_share must be"),
        ("synthesizer.competition=-0.1", "competition must be"),
        ("synthesizer.refine_most=-1", "refine_most must be"),
    ],
)
def test_values_out_of_range_are_named(assignment, message):
    with pytest.raises(DfkdError, match=message) as caught:
        recipes.override(recipes.recipe("default"), [assignment])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", METHODS)
def test_no_number_of_any_method_is_negative_or_no_number(name):
    start = recipes.recipe(name)
    for field in dataclasses.fields(start.synthesizer):
        if field.type in (int, float):
            for value in ("-1", "nan"):
                with pytest.raises(DfkdError):
                    recipes.override(start, [f"synthesizer.{field.name}={value}"])


@pytest.mark.parametrize(
    "text", ["!!python/object:os.system {}", "- 1", "a: [", "just words", "distiller: {x: 1}"]
)
def test_bad_yaml_is_one_clear_error(text):
    with pytest.raises(DfkdError) as caught:
        recipes.from_yaml(text)
    assert "\n" not in str(caught.value)


def test_published_numbers():
    """The figures of the papers that the settings claim to be."""
    zero = recipes.recipe("deep_inversion_imagenet_0").synthesizer
    assert isinstance(zero, DeepInversionConfig)
    assert (zero.low_resolution_iterations, zero.iterations) == (2000, 1000)
    assert (zero.lr, zero.r_feature, zero.first_bn_multiplier) == (0.2, 0.05, 10)
    assert (zero.tv_l2, zero.l2, zero.jitter, zero.betas) == (1e-4, 1e-5, 30, (0.5, 0.9))
    two = recipes.recipe("deep_inversion_imagenet_2").synthesizer
    assert isinstance(two, DeepInversionConfig)
    assert (two.iterations, two.clip, two.betas) == (20_000, False, (0.9, 0.999))
    cifar = recipes.recipe("deep_inversion").synthesizer
    assert isinstance(cifar, DeepInversionConfig)
    assert (cifar.batch_size, cifar.iterations, cifar.tv_l2) == (256, 2000, 2.5e-5)
    nayer = recipes.recipe("nayer_published").synthesizer
    assert (nayer.bn, nayer.oh, nayer.adv, nayer.g_steps) == (10, 0.5, 1.33, 40)


def test_a_method_says_itself_what_one_round_is():
    plan = recipes.override(recipes.recipe("deep_inversion"), ["synthesizer.iterations=20"])
    assert with_round(plan).alternation.warmup_updates == 20
    told = recipes.override(plan, ["alternation.warmup_updates=7"])
    assert with_round(told).alternation.warmup_updates == 7
    assert with_round(recipes.recipe("nayer")) == recipes.recipe("nayer")
