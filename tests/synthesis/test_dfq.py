"""DFQ: each weight enters as published, the sum and its gradient against a hand-made one."""

import copy
from dataclasses import replace

import pytest
import torch

from dfkd import recipes
from dfkd.errors import DfkdError
from dfkd.synthesis.methods.dfq import Dfq, DfqConfig
from dfkd.training.budget import Alternation
from support.methods import make_student, make_teacher

TINY = DfqConfig(synthesis_batch_size=12, latent_dim=8, ngf=4)
NAMES = ("adv", "bn", "oh", "balance")
PUBLISHED = {"kd": -1.0, "bn": 1.0, "onehot": 1.0, "balance": 20.0}


def by_hand(teacher, student, images):
    """The four terms from their formulas; the student in eval mode."""
    trace = teacher.trace(images, statistics=True)
    student = copy.deepcopy(student).eval()
    s, t = student(teacher.spec.normalize(images)).log_softmax(1), trace.logits.log_softmax(1)
    share = t.exp().mean(0)
    return {
        "kd": (t.exp() * (t - s)).sum(1).mean(),
        "bn": sum(
            (layer.mean - layer.running_mean).square().sum().sqrt()
            + (layer.var - layer.running_var).square().sum().sqrt()
            for layer in trace.statistics
        ),
        "onehot": -t.max(1).values.mean(),
        "balance": (share * share.log()).sum(),
    }


def updated(config):
    """A method after its first update, its metrics, the generator before it and the latents."""
    method, asked = Dfq(make_teacher(), config), []
    twin = copy.deepcopy(method.generator)
    method.generator.register_forward_hook(lambda _, inputs, __: asked.append(*inputs))
    metrics = method.update(make_student())
    return method, metrics, twin, asked[0]


@pytest.mark.parametrize("changed", [{}, {"adv": 3.0}, {"bn": 0.5}, {"oh": 7.0}, {"balance": 2.0}])
def test_every_weight_enters_the_sum_and_its_gradient(changed):
    method, metrics, twin, latents = updated(replace(TINY, **changed))
    named = dict(zip(NAMES, PUBLISHED, strict=True))
    weights = PUBLISHED | {named[k]: -v if k == "adv" else v for k, v in changed.items()}
    parts = by_hand(method.teacher, make_student(), twin(latents))
    total = sum(weights[name] * value for name, value in parts.items())
    for name, value in {"loss": total, **parts}.items():
        torch.testing.assert_close(metrics[f"{name}"], value.detach(), msg=name)
    total.backward()
    for mine, its in zip(twin.parameters(), method.generator.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("weight", "term"), [("adv", "loss"), ("balance", "balance")])
def test_alone_each_term_sinks(weight, term):
    config = replace(TINY, **(dict.fromkeys(NAMES, 0.0) | {weight: 1.0}), lr_g=0.01)
    method, student = Dfq(make_teacher(), config), make_student()
    values = [method.update(student)[f"{term}"] for _ in range(40)]
    assert sum(values[-5:]) < sum(values[:5])


def test_every_student_step_has_images_of_its_own():
    method, latents = Dfq(make_teacher(), TINY), []
    method.generator.register_forward_hook(lambda _, inputs, __: latents.append(*inputs))
    batches = [method.sample(12) for _ in range(10)]
    for index, one in enumerate(latents):
        assert all(not torch.isclose(one, other).any() for other in latents[:index])
    assert all(0 <= b.inputs.min() <= b.inputs.max() <= 1 for b in batches)
    assert (method.images_made, method.teacher_images) == (120, 0)


def test_the_published_setting():
    recipe, group = recipes.recipe("dfq"), Dfq(make_teacher()).optimizer.param_groups[0]
    assert recipe.alternation == Alternation(1, 0.5, 10, 256)
    assert (recipe.learner.knowledge, recipe.learner.temperature) == ("kd", 1.0)
    assert recipe.synthesizer == DfqConfig(1.0, 1.0, 1.0, 20.0, 1e-3, 256, 256, 64)
    assert (group["lr"], group["betas"]) == (1e-3, (0.5, 0.999))


@pytest.mark.parametrize(
    "setting",
    [{"synthesis_batch_size": 1}, {"lr_g": 0.0}, {"adv": -1.0}, dict.fromkeys(NAMES, 0.0)],
    ids=str,
)
def test_refuses_settings_out_of_range(setting):
    with pytest.raises(DfkdError):
        replace(TINY, **setting)
