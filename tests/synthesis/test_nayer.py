"""NAYER's contract: what it makes, what it leaves alone, what it refuses."""

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.statistics import LayerStatistics
from dfkd.networks import initialise, vgg
from dfkd.networks.fingerprint import fingerprint
from dfkd.recipes.methods import METHODS
from dfkd.synthesis.methods.nayer import Nayer, NayerConfig
from dfkd.synthesis.steps import smooth
from dfkd.tasks import Prediction
from dfkd.teacher.outputs import Outputs, PairOutputs
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.teacher import Teacher
from support.methods import same

TINY = NayerConfig(
    g_steps=4, synthesis_batch_size=12, recreate=3, capacity=30, latent_dim=16, ngf=4
)
NAMES = {f"{n}" for n in ("loss", "bn", "onehot", "adv")}


def make_teacher(channels: int = 1) -> Teacher:
    """A network whose stored statistics are those of real inputs; its answers are decided."""
    network = initialise(vgg((8, 16), 1, channels, 5), seed=1)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    for _ in range(4):
        network(torch.randn(32, channels, 8, 8, generator=generator))
    with torch.no_grad():
        network.head.weight *= 5
    return Teacher(network, ImageSpec(channels, 8, 8, (0.5,) * channels, (0.25,) * channels))


def make_student(channels: int = 1) -> nn.Module:
    """Differs a little from the teacher, so that the two agree often and not always."""
    student = copy.deepcopy(make_teacher(channels).network).requires_grad_(True).train()
    with torch.no_grad():
        student.head.weight *= 0.5
    student.stages[0].eval()
    student.head.bias.requires_grad_(False)
    return student


def run(rounds: int, **options: int | Tensor) -> Nayer:
    method = Nayer(make_teacher(), TINY, **options)
    student = make_student()
    for _ in range(rounds):
        method.update(student)
    return method


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_finite_and_in_range_and_nobody_else_changes(channels) -> None:
    teacher, student = make_teacher(channels), make_student(channels)
    method = Nayer(teacher, TINY, seed=3)
    prints = teacher.fingerprint(), fingerprint(student)
    modes = [module.training for module in student.modules()]
    learning = [p.requires_grad for p in student.parameters()]
    state = torch.get_rng_state()
    for _ in range(2):
        metrics = method.update(student)
        assert set(metrics) == NAMES
        for name, value in metrics.items():
            assert value.ndim == 0, name
            assert value.isfinite(), name
            assert value != 0, name
            assert not value.requires_grad, name
    assert (teacher.fingerprint(), fingerprint(student)) == prints
    assert [module.training for module in student.modules()] == modes
    assert [p.requires_grad for p in student.parameters()] == learning
    assert all(p.grad is None for p in [*student.parameters(), *teacher.network.parameters()])
    assert torch.equal(torch.get_rng_state(), state)

    batch = method.sample(20)
    assert batch.inputs.shape == (20, channels, 8, 8)
    assert batch.inputs.dtype == torch.float32
    assert batch.inputs.isfinite().all()
    assert batch.inputs.min() >= 0
    assert batch.inputs.max() <= 1
    assert batch.inputs.std() > 0.01
    assert batch.target is not None
    assert batch.prediction is not None
    assert method.images_made == 2 * 12
    assert method.teacher_images == 2 * 12 * (TINY.g_steps + 1)


def test_labels_are_the_teachers_answers_to_the_stored_images() -> None:
    method = run(1)
    batch = method.sample(12)
    torch.testing.assert_close(
        method.teacher(batch.inputs), batch.prediction.logits, rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close((batch.inputs * 255).round() / 255, batch.inputs)


def test_sample_before_the_first_round() -> None:
    batch = Nayer(make_teacher(), TINY).sample(30)
    assert batch.inputs.shape == (30, 1, 8, 8)
    assert batch.target.shape == (30,)
    assert batch.inputs.min() >= 0
    assert batch.inputs.max() <= 1
    assert not batch.inputs.requires_grad


def test_a_seed_decides_everything() -> None:
    first, again, other = (run(4, seed=seed).sample(6).inputs for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("before", [0, 2])
def test_resumed_equals_uninterrupted(before) -> None:
    whole, student = run(before), make_student()
    if not before:
        whole.sample(3)
    state = copy.deepcopy(whole.state_dict())
    aliased = whole.state_dict()
    resumed = Nayer(make_teacher(), TINY, seed=99)
    expected = [whole.update(student) for _ in range(3)]
    assert torch.equal(aliased["generator"]["noisy.weight"], state["generator"]["noisy.weight"])
    resumed.load_state_dict(state)
    assert [resumed.update(student) for _ in range(3)] == expected
    assert same(whole.sample(9), resumed.sample(9))
    assert whole.images_made == resumed.images_made
    assert whole.teacher_images == resumed.teacher_images


def test_the_noisy_layer_is_drawn_anew_each_round_and_the_generator_every_few() -> None:
    method, student = Nayer(make_teacher(), replace(TINY, lr_g=1e-12)), make_student()
    noisy, project = [], []
    for _ in range(4):
        method.update(student)
        noisy.append(method.generator.noisy.weight.clone())
        project.append(method.generator.decoder.project.weight.clone())
    assert noisy[0].shape == (3, 16, 512)  # ceil(12 images / 5 classes) layers
    for left, right in pairwise(noisy):
        assert (left - right).std() > 1
    same = [bool((project[0] - weight).abs().max() < 1e-6) for weight in project]
    assert same == [True, True, True, False]


def test_loss_falls_within_a_few_rounds() -> None:
    config = replace(TINY, g_steps=10, recreate=100, lr_g=1e-2)
    method, student = Nayer(make_teacher(), config), make_student()
    metrics = [method.update(student) for _ in range(6)]
    for name in ("bn", "onehot"):
        assert metrics[-1][name] < metrics[0][name], name


def test_the_kept_batch_is_the_one_of_lowest_loss() -> None:
    losses = [run_steps(steps) for steps in (1, 2, 5, 9)]
    assert losses == sorted(losses, reverse=True)


def run_steps(steps: int) -> float:
    """Loss of the kept batch; more steps of the same round never make it worse."""
    method = Nayer(make_teacher(), replace(TINY, g_steps=steps, lr_g=0.05))
    return method.update(make_student())["loss"].item()


def test_smoothed_statistics_by_hand() -> None:
    mean = torch.tensor([1.0, 2.0], requires_grad=True)
    zeros = torch.zeros(2)
    layer = LayerStatistics("bn", mean, torch.tensor([4.0, 8.0]), zeros, zeros)
    outputs = PairOutputs(zeros, Outputs(Prediction(zeros[None]), (layer,)))
    (first,) = smooth(outputs, {}, 0.9).teacher.statistics
    assert torch.equal(first.mean, mean)
    assert torch.equal(first.var, layer.var)
    average = {"bn": (torch.tensor([11.0, 2.0]), torch.tensor([14.0, 8.0]))}
    (smoothed,) = smooth(outputs, average, 0.9).teacher.statistics
    torch.testing.assert_close(smoothed.mean, torch.tensor([10.0, 2.0]))
    torch.testing.assert_close(smoothed.var, torch.tensor([13.0, 8.0]))
    smoothed.mean.sum().backward()
    torch.testing.assert_close(mean.grad, torch.tensor([0.1, 0.1]))


def test_the_average_moves_once_a_round() -> None:
    method, student = (
        Nayer(make_teacher(), replace(TINY, g_steps=1, bn_momentum=0.75)),
        make_student(),
    )
    seen: list[tuple[LayerStatistics, ...]] = []
    trace = method.teacher.trace

    def spy(images: Tensor, **options):
        result = trace(images, **options)
        seen.append(result.statistics)
        return result

    method.teacher.trace = spy
    method.update(student)
    method.update(student)
    (one, *_), (two, *_) = seen
    mean, var = method.average[one.name]
    torch.testing.assert_close(mean, 0.75 * one.mean + 0.25 * two.mean)
    torch.testing.assert_close(var, 0.75 * one.var + 0.25 * two.var)


def test_embeddings_are_named_and_kept_as_given() -> None:
    embeddings = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    method = run(4, embeddings=embeddings)
    assert torch.equal(method.generator.embeddings, embeddings)
    method = Nayer(make_teacher(), TINY)
    rows = method.generator.embeddings
    torch.testing.assert_close(rows @ rows.T, torch.eye(5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_embeddings_come_from_a_file(suffix, tmp_path) -> None:
    embeddings = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    path = tmp_path / f"names{suffix}"
    if suffix == ".npy":
        np.save(path, embeddings.numpy())
    else:
        save_file({"embeddings": embeddings}, path)
    build = METHODS["nayer"].build
    method = build(make_teacher(), replace(TINY, embeddings=str(path)), 0)
    assert torch.equal(method.generator.embeddings, embeddings)
    with pytest.raises(DfkdError, match="no readable"):
        build(make_teacher(), replace(TINY, embeddings=str(tmp_path / "missing.npy")), 0)


def test_autocast_leaves_losses_in_float32() -> None:
    teacher = make_teacher()
    teacher.autocast = lambda: torch.autocast("cpu", torch.bfloat16)
    method = Nayer(teacher, TINY)
    metrics = method.update(make_student())
    assert all(v.isfinite() and v.dtype == torch.float32 for v in metrics.values())
    assert method.sample(4).inputs.dtype == torch.float32


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(4, 7), torch.zeros(5), torch.full((5, 7), torch.nan)],
    ids=["rows", "dimensions", "nan"],
)
def test_refuses_embeddings_that_do_not_fit(wrong) -> None:
    with pytest.raises(DfkdError, match="finite 5 x d embeddings"):
        Nayer(make_teacher(), TINY, embeddings=wrong)


def test_refuses_a_teacher_without_statistics() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    with pytest.raises(DfkdError, match="stores none"):
        Nayer(Teacher(network, ImageSpec(1, 8, 8)), TINY)


@pytest.mark.parametrize(
    "setting",
    [{"g_steps": 0}, {"synthesis_batch_size": 1}, {"bn": -1.0}, {"bn_momentum": 1.0}, {"lr_g": 0}],
    ids=lambda setting: next(iter(setting)),
)
def test_refuses_settings_out_of_range(setting) -> None:
    with pytest.raises(DfkdError):
        replace(TINY, **setting)


def test_divergence_shows_in_the_loss() -> None:
    method = Nayer(make_teacher(), TINY)
    with torch.no_grad():
        method.generator.decoder.project.weight.fill_(torch.nan)
    assert not method.update(make_student())["loss"].isfinite()
