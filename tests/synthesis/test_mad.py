"""MAD: the average by hand, who makes which half, and what the generator is after."""

import copy
from dataclasses import replace

import pytest
import torch

from dfkd.errors import DfkdError
from dfkd.losses.response import kl_divergence
from dfkd.synthesis.methods.mad import Mad, MadConfig
from support.methods import make_student, make_teacher

TINY = MadConfig(synthesis_batch_size=12, latent_dim=8, ngf=4)


def states(*modules):
    return [copy.deepcopy(module.state_dict()) for module in modules]


def test_the_average_by_hand_after_two_updates():
    method, student = Mad(make_teacher(), replace(TINY, lr_g=0.1)), make_student()
    (expected,) = states(method.generator)
    for _ in range(2):
        method.update(student)
        for name, value in method.generator.state_dict().items():
            if value.is_floating_point():
                expected[name] = 0.95 * expected[name] + 0.05 * value
            else:
                expected[name] = value.clone()
    found, current = states(method.average, method.generator)
    assert any("running_var" in name for name in found)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])
        assert name.endswith("num_batches_tracked") or not torch.allclose(value, current[name])
    assert all(p.grad is None and not p.requires_grad for p in method.average.parameters())


@pytest.mark.parametrize(("count", "new", "old"), [(20, 10, 10), (9, 5, 4), (1, 1, 0)])
def test_half_of_a_batch_is_the_averages(count, new, old):
    method, outputs = Mad(make_teacher(), TINY), {}
    method.update(make_student())
    for name in ("generator", "average"):
        getattr(method, name).register_forward_hook(
            lambda _, inputs, output, name=name: outputs.update({name: (*inputs, output)})
        )
    made, before = method.images_made, states(method.average)
    batch = method.sample(count)
    (latents, targets, images), (older, old_targets, old_images) = outputs.values()
    assert list(outputs) == ["generator", "average"]
    assert torch.equal(batch.inputs, torch.cat([images[:new], old_images[:old]]))
    assert torch.equal(batch.target, torch.cat([targets[:new], old_targets[:old]]))
    assert latents.shape != older.shape or not torch.equal(latents, older)
    assert method.images_made == made + count
    assert all(torch.equal(v, method.average.state_dict()[k]) for k, v in before[0].items())
    assert not torch.equal(method.sample(count).inputs, batch.inputs)


def test_the_generator_raises_the_divergence_that_the_student_lowers():
    teacher, student, shown = make_teacher(), make_student().eval(), []
    method = Mad(teacher, replace(TINY, bn=0.0, oh=0.0, lr_g=0.01))
    method.generator.register_forward_hook(lambda _, __, output: shown.append(output.detach()))
    values = []
    for _ in range(40):
        metrics = method.update(student)
        with torch.no_grad():
            answers = student(teacher.spec.normalize(shown[-1])), teacher(shown[-1])
        values.append(kl_divergence(*answers, temperature=1.0))
        torch.testing.assert_close(metrics["kd"], values[-1])
        torch.testing.assert_close(metrics["loss"], -method.config.adv * values[-1])
    assert sum(values[-5:]) > sum(values[:5])
    assert set(metrics) == {"loss", "kd"}


def test_images_are_made_for_their_classes():
    method, student = Mad(make_teacher(), replace(TINY, adv=0.0, bn=0.0, lr_g=0.02)), make_student()
    for _ in range(60):
        method.update(student)
    batch = method.sample(200)
    right = method.teacher(batch.inputs).argmax(1) == batch.target
    assert right[:100].float().mean() > 0.6  # 0.25 by chance
    assert right[100:].float().mean() > 0.5


@pytest.mark.parametrize(
    "setting",
    [
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"synthesis_batch_size": 1},
        {"adv": -1.0},
        {"lr_g": 0.0},
    ],
    ids=str,
)
def test_refuses_settings_out_of_range(setting):
    with pytest.raises(DfkdError):
        replace(TINY, **setting)
