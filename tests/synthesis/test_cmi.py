"""CMI: what contrasts with what, and that each round starts from nothing."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch.autograd import gradcheck

from dfkd.errors import DfkdError
from dfkd.losses.contrastive import instance_discrimination, spatial_means
from dfkd.synthesis.methods import cmi
from dfkd.synthesis.methods.cmi import Cmi, CmiConfig
from dfkd.teacher.folding import FoldedNorm, fold
from dfkd.teacher.spec import dequantize, quantize
from dfkd.training.augment import padded_crop
from support.methods import make_student, make_teacher

TINY = CmiConfig(
    g_steps=3, synthesis_batch_size=12, cr_dim=8, cr_negatives=20, capacity=60, latent_dim=8, ngf=4
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 3, generator=seeded(seed), dtype=torch.double).requires_grad_()


def spy(method: Cmi) -> list[torch.Tensor]:
    """The latents of every pass of the generator, as they were then."""
    seen: list[torch.Tensor] = []
    method.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    return seen


def test_the_contrast_by_hand():
    eye = torch.eye(2)
    same, swapped = (instance_discrimination(eye, e, temperature=0.5) for e in (eye, eye.flip(0)))
    torch.testing.assert_close(same, torch.tensor(math.log(1 + math.exp(-2))))
    torch.testing.assert_close(swapped, torch.tensor(2 + math.log(1 + math.exp(-2))))
    torch.testing.assert_close(instance_discrimination(3 * eye, 7 * eye, temperature=0.5), same)


def test_an_image_is_told_from_all_others_and_the_two_means_are_apart():
    one, other = features(5, 0), features(5, 1)
    cosines = torch.cosine_similarity(one[:, None], other[None], dim=2)
    own = -(cosines / 0.1).log_softmax(1).diagonal()
    expected = own[:2].mean() + own[2:].mean()
    torch.testing.assert_close(instance_discrimination(one, other, current=2), expected)
    torch.testing.assert_close(instance_discrimination(one, other), own.mean())
    torch.testing.assert_close(instance_discrimination(one, other, current=5), own.mean())
    aligned, permuted = (instance_discrimination(one, one[p]) for p in (range(5), [1, 2, 3, 4, 0]))
    assert aligned < permuted


def test_the_global_side_stands_still():
    one, other = features(4, 0), features(4, 1)
    assert gradcheck(lambda x: instance_discrimination(x, other, current=3), one)
    instance_discrimination(one, other).backward()
    assert one.grad.abs().sum() > 0
    assert other.grad is None
    with pytest.raises(DfkdError, match=r"one shape, not \(4, 3\) and \(5, 3\)"):
        instance_discrimination(one, features(5, 1))


def test_means_of_maps_and_of_what_has_none():
    maps, row = torch.rand(2, 3, 4, 5), torch.rand(2, 6)
    expected = torch.cat([maps.mean((2, 3)), row], 1)
    torch.testing.assert_close(spatial_means([maps, row]), expected)
    assert spatial_means([maps.bfloat16()]).dtype == torch.float32
    assert gradcheck(
        lambda x: spatial_means([x, x]), torch.rand(1, 2, 2, 2).double().requires_grad_()
    )


def test_a_padded_crop_moves_each_image_and_black_enters():
    images = (1 + torch.arange(30.0)).view(1, 1, 5, 6).repeat(300, 1, 1, 1)
    assert padded_crop(images, 0, None) is images
    made = padded_crop(images, 1, seeded())
    assert torch.equal(made, padded_crop(images, 1, seeded()))
    assert made.shape == images.shape
    shifts = []
    for image in made[:, 0]:
        down, right = next(
            (down, right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if image[2, 2] == images[0, 0, 2 - down, 2 - right]
        )
        expected = torch.zeros(7, 8)
        expected[1 + down : 6 + down, 1 + right : 7 + right] = images[0, 0]
        assert torch.equal(image, expected[1:6, 1:7])
        shifts.append((down, right))
    assert min(shifts.count(s) for s in set(shifts)) > 10  # 33 expected
    assert len(set(shifts)) == 9
    small = torch.rand(2, 1, 4, 4, dtype=torch.double).requires_grad_()
    assert gradcheck(lambda x: padded_crop(x, 2, seeded()), small)


def test_generator_and_latents_are_new_each_round_and_trained_in_it():
    student, still = make_student(), Cmi(make_teacher(), replace(TINY, lr_g=1e-12))
    latents, weights = spy(still), []
    for _ in range(2):
        still.update(student)
        weights.append([p.detach().clone() for p in still.generator.parameters()])
    assert abs(weights[1][0].std() / 0.02 - 1) < 0.1
    changed = [w for w, v in zip(*weights, strict=True) if not torch.allclose(w, v, atol=1e-6)]
    assert len(changed) == sum(bool(w.abs().max() > 1e-6) for w in weights[0])  # not the biases
    torch.testing.assert_close(latents[0], latents[2])
    assert (latents[2] - latents[3]).std() > 1
    assert abs(latents[3].std() - 1) < 0.2
    moving = Cmi(make_teacher(), TINY)
    latents = spy(moving)
    moving.update(student)
    assert (latents[0] != latents[2]).any()
    assert latents[0].requires_grad


def test_the_best_batch_is_kept_as_a_copy(monkeypatch):
    scale = iter([3e6, 1e6, 2e6])
    monkeypatch.setattr(
        cmi, "instance_discrimination", lambda one, *_, **__: 0 * one.sum() + next(scale)
    )
    method, images = Cmi(make_teacher(), TINY), []
    method.generator.register_forward_hook(lambda _, __, output: images.append(output))
    metrics = method.update(make_student())
    assert metrics["contrastive"] == 1e6
    expected = dequantize(quantize(images[1]))
    assert not torch.equal(expected, dequantize(quantize(images[2])))
    with torch.no_grad():
        images[1].zero_()
    kept = method.bank.sample(12).inputs
    assert torch.equal(kept.flatten(1).sum(1).sort()[0], expected.flatten(1).sum(1).sort()[0])


def test_earlier_images_are_contrasted_with_and_every_pass_is_counted(monkeypatch):
    calls, shown = [], [0]

    def contrast(local, whole, **options):
        calls.append((len(local), options))
        return instance_discrimination(local, whole, **options)

    monkeypatch.setattr(cmi, "instance_discrimination", contrast)
    teacher = make_teacher()
    method, student = Cmi(teacher, TINY), make_student()

    def count(_, inputs):
        shown[0] += len(inputs[0])

    teacher.network.register_forward_pre_hook(count)
    for _ in range(3):
        method.update(student)
    rows = [rows for rows, _ in calls]
    assert rows == [12] * 3 + [12 + 12] * 3 + [12 + 20] * 3  # 20 of the 24 in the bank
    assert all(options == {"temperature": 0.1, "current": 12} for _, options in calls)
    assert method.teacher_images == shown[0]


def test_the_head_learns_through_all_rounds():
    method, student = Cmi(make_teacher(), TINY), make_student()
    before = copy.deepcopy(method.head.state_dict())
    for _ in range(2):
        method.update(student)
    assert all(not torch.equal(before[k], v) for k, v in method.head.state_dict().items())
    assert {int(s["step"]) for s in method.head_optimizer.state.values()} == {2 * TINY.g_steps}


def test_more_steps_of_a_round_find_better_images():
    def update(steps):
        return Cmi(make_teacher(), replace(TINY, g_steps=steps, lr_g=2e-2)).update(make_student())

    found = [update(steps) for steps in (1, 4, 20)]
    for name in ("loss", "bn"):
        values = [float(metrics[name]) for metrics in found]
        assert values == sorted(values, reverse=True), name
    assert found[2]["loss"] < found[0]["loss"]


def test_features_are_means_of_what_enters_the_norms_and_affine_after_folding():
    teacher, images = make_teacher(), torch.rand(6, 1, 8, 8, generator=seeded())
    statistics = teacher.trace(images, statistics=True).statistics
    found = Cmi(teacher, TINY)._features(images)
    torch.testing.assert_close(found.mean(0), torch.cat([layer.mean for layer in statistics]))
    folded = fold(teacher).teacher
    norms = [layer for layer in folded.layers.values() if isinstance(layer, FoldedNorm)]
    assert len(norms) == len(statistics)
    scale, shift = (torch.cat([getattr(n, name) for n in norms]) for name in ("scale", "shift"))
    torch.testing.assert_close(
        Cmi(folded, TINY)._features(images), scale * found + shift, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    "setting",
    [{"synthesis_batch_size": 1}, {"cr_negatives": -1}, {"cr": -1.0}, {"cr_T": 0.0}, {"lr_g": 0.0}],
    ids=lambda setting: next(iter(setting)),
)
def test_refuses_settings_out_of_range(setting):
    with pytest.raises(DfkdError):
        replace(TINY, **setting)
