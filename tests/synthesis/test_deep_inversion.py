"""DeepInversion's contract: images, teacher, student, best iterates, seeds, resume."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.losses.objective import Term
from dfkd.networks.fingerprint import fingerprint
from dfkd.synthesis.methods.deep_inversion import DeepInversion
from dfkd.synthesis.methods.deep_inversion_config import (
    DeepInversionConfig,
    cifar,
    default_config,
    imagenet,
    natural,
    small,
)
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.teacher import Teacher
from generators.pixels import smooth_images
from support.methods import same

SPEC = ImageSpec(3, 16, 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
TINY = DeepInversionConfig(
    batch_size=8, iterations=4, low_resolution_iterations=2, lr=0.1, warmup=2, jitter=2,
    smooth_start=True, capacity=32,
)  # fmt: skip


def network(seed: int = 0) -> nn.Module:
    """A small network whose statistics are those of smooth images."""
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8, momentum=None), nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16, momentum=None), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    nn.init.normal_(layers[-1].weight, std=4.0)
    with torch.no_grad():
        layers(SPEC.normalize(smooth_images((64, 3, 16, 16), torch.Generator().manual_seed(1))))
    return layers


def teacher() -> Teacher:
    return Teacher(network(), SPEC)


def student() -> nn.Module:
    return network(7).train()


def run(synthesizer: DeepInversion, updates: int) -> dict[str, torch.Tensor]:
    watcher = student()
    for _ in range(updates):
        metrics = synthesizer.update(watcher)
    return metrics


@pytest.mark.parametrize("basis", ["pixel", "chroma", "fourier"])
@pytest.mark.parametrize("change", [{}, {"crop": 0.5}, {"smooth_start": False}, {"adi": 1.0}])
def test_images_are_finite_8_bit_and_labelled_by_the_teacher(basis, change):
    oracle = teacher()
    before = oracle.fingerprint()
    synthesizer = DeepInversion(oracle, replace(TINY, basis=basis, **change), classes=[3, 1])
    run(synthesizer, 7)
    batch = synthesizer.sample(6)
    assert batch.inputs.shape == (6, 3, 16, 16)
    assert batch.inputs.min() >= 0
    assert batch.inputs.max() <= 1
    torch.testing.assert_close((batch.inputs * 255).round() / 255, batch.inputs)
    # The bank keeps logits to three significant digits.
    torch.testing.assert_close(batch.prediction.logits, oracle(batch.inputs), rtol=2e-3, atol=1e-2)
    assert set(batch.target.tolist()) <= {1, 3}
    assert synthesizer.images_made == 8
    assert synthesizer.teacher_images == 8 * 7 + 8
    assert oracle.fingerprint() == before


def test_sampling_works_before_the_first_batch_is_complete():
    synthesizer = DeepInversion(teacher(), TINY)
    run(synthesizer, 1)
    assert synthesizer.sample(12).inputs.shape == (12, 3, 16, 16)


def test_the_student_watches_in_eval_mode_and_stays_as_it_is():
    watcher = student()
    watcher[1].eval()
    modes = [module.training for module in watcher.modules()]
    before, seen = fingerprint(watcher), []
    watcher.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    synthesizer = DeepInversion(teacher(), replace(TINY, adi=1.0))
    metrics = synthesizer.update(watcher)
    assert seen == [False]
    assert fingerprint(watcher) == before
    assert [module.training for module in watcher.modules()] == modes
    assert all(p.requires_grad and p.grad is None for p in watcher.parameters())
    assert 0 <= metrics["js"] <= 1


def test_competition_without_a_student_is_an_error():
    with pytest.raises(DfkdError, match="student"):
        DeepInversion(teacher(), replace(TINY, adi=1.0)).step()


def test_the_best_iterate_is_a_copy_and_per_image():
    synthesizer = DeepInversion(teacher(), replace(TINY, low_resolution_iterations=0))
    synthesizer.step()
    best, cost = synthesizer.best.clone(), synthesizer.best_cost.clone()
    with torch.no_grad():
        for parameter in synthesizer.pixels.parameters():
            parameter.add_(100)  # ruin the live images
    synthesizer.step()
    assert torch.equal(synthesizer.best, best)
    assert torch.equal(synthesizer.best_cost, cost)


def test_one_seed_one_result_and_another_seed_another():
    images = []
    for seed in (0, 0, 1):
        synthesizer = DeepInversion(teacher(), TINY, seed)
        run(synthesizer, 6)
        images.append(synthesizer.sample(8).inputs)
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


@pytest.mark.parametrize("updates", [1, 3, 6, 8])
@pytest.mark.parametrize("basis", ["pixel", "chroma", "fourier"])
def test_resumed_equals_uninterrupted(updates, basis):
    config = replace(TINY, basis=basis)
    whole = DeepInversion(teacher(), config)
    run(whole, updates)
    state = copy.deepcopy(whole.state_dict())
    run(whole, 9)
    resumed = DeepInversion(teacher(), config, seed=5)
    resumed.load_state_dict(state)
    run(resumed, 9)
    assert torch.equal(whole.best, resumed.best)
    assert same(whole.sample(8), resumed.sample(8))
    assert (whole.images_made, whole.teacher_images) == (
        resumed.images_made,
        resumed.teacher_images,
    )


def test_a_state_does_not_follow_the_run():
    synthesizer = DeepInversion(teacher(), TINY)
    state = synthesizer.state_dict()
    before = copy.deepcopy(state["pixels"])
    run(synthesizer, 2)
    assert all(torch.equal(state["pixels"][name], value) for name, value in before.items())


@pytest.mark.parametrize("basis", ["pixel", "chroma", "fourier"])
def test_the_loss_falls(basis):
    config = replace(
        TINY, iterations=60, low_resolution_iterations=0, r_feature=0.5, basis=basis,
        lr=0.02 if basis == "fourier" else 0.1,
    )  # fmt: skip
    synthesizer, watcher = DeepInversion(teacher(), config), student()
    losses = []
    for _ in range(59):
        metrics = synthesizer.update(watcher)
        statistics = metrics["bn"]
        losses.append(float(metrics["onehot"] + 0.5 * statistics))
    assert losses[-1] < 0.8 * losses[0]
    assert synthesizer.best_cost.mean() < losses[0]


def test_a_term_of_ones_own_joins_the_objective():
    darkness = Term("darkness", lambda outputs: outputs.inputs.mean(), 1e4)
    config = replace(TINY, iterations=30, low_resolution_iterations=0)
    plain, dark = DeepInversion(teacher(), config), DeepInversion(teacher(), config, extra=darkness)
    run(plain, 30)
    assert "darkness" in run(dark, 30)
    assert dark.sample(8).inputs.mean() < plain.sample(8).inputs.mean() - 0.1


def test_a_teacher_without_statistics_is_refused_unless_they_weigh_nothing():
    bare = Teacher(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)), SPEC)
    with pytest.raises(DfkdError, match="statistics"):
        DeepInversion(bare, TINY)
    DeepInversion(bare, replace(TINY, r_feature=0.0)).step()


def test_a_teacher_of_one_size_is_not_shown_another():
    spec = ImageSpec(3, 96, 96)
    fixed = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(3 * 96 * 96, 5)), spec)
    with pytest.raises(DfkdError, match="low_resolution_iterations"):
        DeepInversion(fixed, replace(TINY, r_feature=0.0))
    assert default_config(fixed).low_resolution_iterations == 0


def test_works_under_autocast():
    narrow = teacher()
    narrow.autocast = lambda: torch.autocast("cpu", torch.bfloat16)
    metrics = run(DeepInversion(narrow, TINY), 6)
    assert all(value.isfinite() for value in metrics.values())


@pytest.mark.parametrize("basis", ["pixel", "chroma", "fourier"])
def test_runs_on_another_device(basis):
    """On the meta device, which has shapes and no values: nothing may be left on the CPU."""
    oracle = Teacher(network().to("meta"), SPEC)
    synthesizer = DeepInversion(oracle, replace(TINY, basis=basis, adi=1.0, crop=0.5))
    watcher = student().to("meta")
    for _ in range(7):
        synthesizer.update(watcher)
    assert synthesizer.best.device.type == "meta"
    assert synthesizer.images_made == 8


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 0}, {"iterations": 0}, {"tv_l2": -1}, {"lr": 0}, {"crop": 0}, {"basis": "x"}],
)
def test_a_setting_that_makes_no_sense_is_refused(change):
    with pytest.raises(DfkdError):
        replace(TINY, **change)


def test_published_settings():
    assert [imagenet(n).total_iterations for n in range(3)] == [3000, 2000, 20_000]
    assert imagenet(2).betas == (0.9, 0.999)
    assert (cifar().r_feature, cifar().tv_l2, cifar(10).adi) == (100.0, 2.5e-5, 10)
    with pytest.raises(DfkdError, match="0, 1 and 2"):
        imagenet(3)
    assert default_config(teacher()) == small()
    assert default_config(Teacher(network(), ImageSpec(3, 96, 96))) == natural()


def test_the_rate_rises_and_falls_at_each_resolution():
    config = replace(TINY, iterations=20, low_resolution_iterations=10, warmup=2)
    rates = [config.rate(position) for position in range(31)]
    assert rates[0] == pytest.approx(config.lr / 2)
    assert rates[2] == pytest.approx(config.lr, rel=0.1)
    assert rates[9] < 0.05 * config.lr < rates[10]
    assert rates[30] == pytest.approx(0)


def test_time_maps_to_iterations():
    assert TINY.position(0.0) == 0
    assert TINY.position(1.0) == TINY.total_iterations
    assert TINY.position(0.5 / 4.5) == pytest.approx(TINY.low_resolution_iterations)
