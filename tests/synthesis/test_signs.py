"""What every method minimises: its loss is the weighted sum of its parts, each with its sign."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dfkd.networks.modes import eval_mode
from dfkd.recipes.methods import METHODS
from support.methods import build, make_student, make_teacher, teacher_for

Weights = Callable[[Any], dict[str, float]]


def nayer_like(config: Any) -> dict[str, float]:
    return {"bn": config.bn, "onehot": config.oh, "adv": config.adv}


def dafl_like(config: Any) -> dict[str, float]:
    return {"onehot": config.oh, "balance10": config.ie, "activation": config.a}


def adi_like(config: Any) -> dict[str, float]:
    priors = {name: getattr(config, name) for name in ("tv_l1", "tv_l2", "l2")}
    main = getattr(config, "main", 1.0)  # of DeepInversion the paper has no weight for it
    return {"onehot": main, "bn": config.r_feature, "js": config.adi, **priors}


WEIGHTS: dict[str, Weights] = {
    "redraw": lambda c: {"bn_kl": c.statistics, "js": c.competition, "onehot": c.cross_entropy},
    "deep_inversion": adi_like,
    "adi": adi_like,
    "nayer": nayer_like,
    "fast": nayer_like,
    "cmi": lambda c: {**nayer_like(c), "contrastive": c.cr},
    "spaceship": lambda c: {"bn": c.bn, "onehot": c.oh},
    "mad": lambda c: {"bn": c.bn, "onehot": c.oh, "kd": -c.adv},
    "dfad": lambda c: {"l1": -1.0},
    "zskt": lambda c: {"kd_mean": -1.0},
    "smi": lambda c: {"onehot": 1.0, "tv_l2": c.tv_l2},
    "dfq": lambda c: {"kd": -c.adv, "bn": c.bn, "onehot": c.oh, "balance": c.balance},
    "dafl": dafl_like,
    # The memory has an optimiser of its own: its two parts are in no loss of the generator.
    "pre": lambda c: {**dafl_like(c), "js": c.js, "memory_reconstruction": 0, "memory_kl": 0},
}
"""The papers' weights of what a method logs. ``drawings`` optimises nothing, ``dfme`` and
``disguide`` follow no gradient of the teacher."""


def test_no_method_that_optimises_is_forgotten():
    assert set(WEIGHTS) == set(METHODS) - {"drawings", "dfme", "disguide"}
    assert build("drawings", make_teacher()).update(make_student()) == {}


@pytest.mark.parametrize("method", WEIGHTS)
def test_the_loss_is_the_weighted_sum_of_its_parts(method):
    synthesizer, student = build(method, teacher_for(method)), make_student()
    weights = WEIGHTS[method](synthesizer.config)
    for _ in range(3):
        metrics = dict(synthesizer.update(student))
        loss = metrics.pop("loss")
        assert set(metrics) <= set(weights)
        expected = sum(weights[name] * float(value) for name, value in metrics.items())
        assert float(loss) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("method", ["nayer", "fast"])
def test_the_adversary_rewards_images_on_which_both_decide_alike_and_differ(method):
    """The batch that is kept is the bank: what is logged is -KL(t || s) there, where both agree."""
    teacher, student = make_teacher(), make_student()
    synthesizer = build(method, teacher, g_steps=1)
    found = float(synthesizer.update(student)["adv"])
    images = synthesizer.bank.sample(400).inputs
    with torch.no_grad(), eval_mode(student):
        theirs, ours = teacher(images), student(teacher.spec.normalize(images))
    gaps = F.kl_div(ours.log_softmax(1), theirs.log_softmax(1), log_target=True, reduction="none")
    agreed = theirs.argmax(1) == ours.argmax(1)
    assert found < 0
    # The bank has 8-bit images, drawn with repetition.
    assert found == pytest.approx(-float((gaps.sum(1) * agreed).mean()), rel=0.5)


@pytest.mark.parametrize(
    ("method", "settings"),
    [("nayer", {"bn": 0.0, "oh": 0.0}), ("cmi", {"bn": 1e-6, "oh": 0.0, "cr": 0.0})],
)
def test_the_adversary_moves_the_images_apart(method, settings):
    """One round of one step and one of many, from one seed: the adversary is lower in the end."""
    few, many = (
        build(method, make_teacher(), g_steps=steps, adv=10.0, lr_g=0.01, **settings)
        for steps in (1, 40)
    )
    student = make_student()
    first, last = (float(each.update(student)["adv"]) for each in (few, many))
    assert last < 1.2 * first < 0
