"""ZSKT: the scale of both KL, which images ten steps share, attention, the clipped norm."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from dfkd import recipes
from dfkd.errors import DfkdError
from dfkd.losses.attention import attention_map, attention_transfer
from dfkd.losses.objective import parse
from dfkd.losses.registry import KNOWLEDGE
from dfkd.recipes.schemes import build_distiller
from dfkd.synthesis.methods.zskt import Zskt, ZsktConfig
from dfkd.training.budget import Alternation
from support.methods import Odd, make_student, make_teacher

TINY = ZsktConfig(synthesis_batch_size=12, latent_dim=8, ngf=4)
STUDENT = recipes.recipe("zskt").learner


def divergence(student_logits, teacher_logits):
    """sum_c t log(t / s), a mean over images: 4 classes times what ZSKT means by KL."""
    student, teacher = student_logits.softmax(1), teacher_logits.softmax(1)
    return (teacher * (teacher / student).log()).sum(1).mean()


def listen(method):
    """Latents that the generator is given and images that it returns, as they come."""
    heard = []
    method.generator.register_forward_hook(
        lambda _, inputs, images: heard.append((*inputs, images.detach()))
    )
    return heard


def answers(method, student, normalized):
    """Of a copy of the student in train mode, and of the teacher."""
    images = method.teacher.spec.denormalize(normalized)
    with torch.no_grad():
        return copy.deepcopy(student).train()(normalized), method.teacher(images)


@pytest.mark.parametrize("seed", range(4))
def test_the_generator_raises_a_kl_that_is_a_mean_over_classes_too(seed):
    method, student = Zskt(make_teacher(), replace(TINY, lr_g=1e-4), seed), make_student()
    heard = listen(method)
    metrics = method.update(student)
    before, after = (divergence(*answers(method, student, images)) for _, images in heard)
    torch.testing.assert_close(metrics["kd_mean"], before / 4)
    torch.testing.assert_close(metrics["loss"], -before / 4)
    assert after > before


def test_the_students_kl_has_the_same_scale():
    teacher, student = make_teacher(), make_student()
    method = Zskt(teacher, TINY)
    method.update(student)
    batch = method.sample(12)
    normalized = teacher.spec.normalize(batch.inputs)
    expected = divergence(*answers(method, student, normalized)) / 4
    distiller = build_distiller(teacher, student, replace(STUDENT, flip=0.0), seed=0)
    found = distiller.update(batch)
    torch.testing.assert_close(found["kd_mean"], expected)
    assert set(found) == {f"{n}" for n in ("kd_mean", "at", "agreement")}


def test_ten_samples_share_the_latents_of_the_update_and_the_next_has_others():
    method, student = Zskt(make_teacher(), replace(TINY, lr_g=0.05)), make_student()
    heard = listen(method)
    method.update(student)
    ten = [method.sample(12).inputs for _ in range(10)]
    (latents, images), (again, moved) = heard  # and no more: decoded once for all ten
    assert torch.equal(latents, again)
    assert not torch.allclose(images, moved)  # by the generator as it is after its step
    for batch in ten:
        assert torch.equal(batch, method.teacher.spec.denormalize(moved))
    assert torch.equal(method.sample(30).inputs[12:24], ten[0])
    method.update(student)
    assert not torch.isclose(heard[2][0], latents).any()
    assert torch.equal(method.sample(12).inputs, method.teacher.spec.denormalize(heard[3][1]))
    assert (method.images_made, method.teacher_images) == (4 * 12, 2 * 12)


def test_attention_transfer_by_hand():
    student = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2)
    teacher = torch.tensor([[1.0, 0.0], [1.0, 2.0]]).view(1, 2, 1, 2)
    # Energies 9, 16 and (1 + 1)/2, (0 + 4)/2; each map is divided by its length.
    one = torch.tensor([[9.0, 16.0]]) / 337**0.5
    other = torch.tensor([[1.0, 2.0]]) / 5**0.5
    torch.testing.assert_close(attention_map(student), one)
    torch.testing.assert_close(attention_map(teacher), other)
    expected = ((one - other) ** 2).sum() / 2
    assert expected.item() == pytest.approx(0.0011876, rel=1e-3)
    torch.testing.assert_close(attention_transfer(student, teacher), expected)
    depths = KNOWLEDGE["at"].function((student, 7 * student), (teacher, 7 * teacher))
    torch.testing.assert_close(depths, 2 * expected)  # a sum over depths


def test_the_generators_gradient_is_clipped_by_its_norm():
    gradients = []
    for clip in (1e6, 1e-3):
        method = Zskt(make_teacher(), replace(TINY, clip=clip))
        method.update(make_student())
        gradients.append(torch.cat([p.grad.flatten() for p in method.generator.parameters()]))
    free, clipped = gradients
    assert free.norm() > 0.01
    torch.testing.assert_close(clipped, 1e-3 * free / free.norm(), rtol=1e-2, atol=1e-8)


def test_the_published_setting():
    method = Zskt(make_teacher())
    assert recipes.recipe("zskt").alternation == Alternation(1, 0.5, 10, 128)
    assert recipes.recipe("zskt").synthesizer == ZsktConfig(1e-3, 5.0, 128, 100, 64)
    assert parse(STUDENT.knowledge) == {"kd_mean": 1.0, "at": 250.0}
    assert STUDENT.temperature == 1.0
    assert isinstance(method.generator.end, nn.BatchNorm2d)
    assert method.generator.end.affine


def test_a_student_without_maps_to_compare_is_told_what_to_do():
    with pytest.raises(DfkdError, match="`knowledge=kd`"):
        build_distiller(make_teacher(), Odd(), STUDENT, seed=0)
    build_distiller(make_teacher(), Odd(), replace(STUDENT, knowledge="kd"), seed=0)


@pytest.mark.parametrize("setting", [{"synthesis_batch_size": 1}, {"lr_g": 0.0}, {"clip": 0.0}])
def test_refuses_settings_out_of_range(setting):
    with pytest.raises(DfkdError):
        replace(TINY, **setting)
