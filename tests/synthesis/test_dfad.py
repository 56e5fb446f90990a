"""DFAD: who is after what, in which mode the student watches, and five batches for five steps."""

import copy
from dataclasses import replace

import pytest
import torch

from dfkd import recipes
from dfkd.errors import DfkdError
from dfkd.synthesis.methods.dfad import Dfad, DfadConfig
from dfkd.training.budget import Alternation
from support.methods import make_student, make_teacher

TINY = DfadConfig(synthesis_batch_size=12, latent_dim=8, ngf=4)


def decoded(method, generator, latents):
    """What a copy of ``generator`` makes of them in train mode, as the student takes it."""
    with torch.no_grad():
        return method.teacher.spec.denormalize(copy.deepcopy(generator)(latents))


def difference(method, student, images):
    """mean |s - t|, the student a copy in its present mode."""
    with torch.no_grad():
        answers = copy.deepcopy(student)(method.teacher.spec.normalize(images))
        return (answers - method.teacher(images)).abs().mean()


@pytest.mark.parametrize("seed", range(4))
def test_an_update_raises_the_difference_on_its_latents(seed):
    method, student = Dfad(make_teacher(), replace(TINY, lr_g=1e-4), seed), make_student()
    before, asked = copy.deepcopy(method.generator), []
    method.generator.register_forward_hook(lambda _, inputs, __: asked.append(*inputs))
    metrics = method.update(student)
    (latents,) = asked
    images = decoded(method, before, latents)
    start = difference(method, student.train(), images)
    torch.testing.assert_close(metrics["l1"], start)
    torch.testing.assert_close(metrics["loss"], -start)
    assert not torch.isclose(difference(method, student.eval(), images), start)  # train it was
    images = decoded(method, method.generator, latents)
    assert difference(method, student.train(), images) > start
    assert method.teacher_images == 12


def test_the_gradient_goes_through_student_and_teacher():
    method, student = Dfad(make_teacher(), TINY), make_student()
    twin, asked = copy.deepcopy(method.generator), []
    method.generator.register_forward_hook(lambda _, inputs, __: asked.append(*inputs))
    method.update(student)
    images = method.teacher.spec.denormalize(twin(*asked))
    answers = student.train()(method.teacher.spec.normalize(images))
    (-(answers - method.teacher(images)).abs().mean()).backward()
    for mine, its in zip(twin.parameters(), method.generator.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


def test_five_samples_are_five_batches_of_the_same_generator():
    method = Dfad(make_teacher(), TINY)
    method.update(make_student())
    before = {k: v.clone() for k, v in method.generator.named_parameters()}
    latents = []
    method.generator.register_forward_hook(lambda _, inputs, __: latents.append(*inputs))
    batches = [method.sample(12) for _ in range(5)]
    for index, one in enumerate(latents):
        assert all(not torch.isclose(one, other).any() for other in latents[:index])
    images = torch.stack([batch.inputs for batch in batches]).flatten(1)
    assert (torch.cdist(images, images) + 9 * torch.eye(5) > 0.1).all()
    assert all(batch.prediction is None and batch.target is None for batch in batches)
    assert all(torch.equal(v, before[k]) for k, v in method.generator.named_parameters())
    assert (method.images_made, method.teacher_images) == (6 * 12, 12)


def test_images_are_denormalised_and_not_clamped():
    method = Dfad(make_teacher(3), TINY)
    images = method.sample(64).inputs
    var, mean = torch.var_mean(images, (0, 2, 3), correction=0)
    # The decoder's last norm has mean 0 and variance 1; the teacher's images 0.5 and 0.25.
    torch.testing.assert_close(mean, torch.full((3,), 0.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(var.sqrt(), torch.full((3,), 0.25), atol=1e-2, rtol=0)
    assert images.min() < 0
    assert images.max() > 1


def test_the_published_setting():
    recipe, group = recipes.recipe("dfad"), Dfad(make_teacher()).optimizer.param_groups[0]
    assert recipe.alternation == Alternation(1, 0.5, 5, 256)
    assert recipe.learner.knowledge == "l1"
    assert recipe.synthesizer == DfadConfig(1e-3, 256, 256, 64)
    assert (group["lr"], group["betas"]) == (1e-3, (0.9, 0.999))


@pytest.mark.parametrize("setting", [{"synthesis_batch_size": 1}, {"lr_g": 0.0}, {"ngf": 0}])
def test_refuses_settings_out_of_range(setting):
    with pytest.raises(DfkdError):
        replace(TINY, **setting)
