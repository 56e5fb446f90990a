"""Inversion's contract, and the measure of colour noise against a slow, obvious oracle."""

import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.evaluation.colour import colour_noise
from dfkd.runs.inversion import invert, invert_run, with_steps
from dfkd.synthesis.methods.deep_inversion import DeepInversion
from dfkd.synthesis.methods.deep_inversion_config import (
    cifar,
    imagenet,
    natural,
    small,
)
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from dfkd.training.augment import with_flip
from support.inversion import CONFIG, teacher


def test_images_are_exact_8_bit_and_classes_take_turns():
    oracle = teacher()
    before = oracle.fingerprint()
    result = invert_run(oracle, [4, 2, 1], 7, config=CONFIG)
    assert result.images.shape == (7, 3, 12, 12)
    assert torch.equal((result.images * 255).round() / 255, result.images)
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    assert result.targets.tolist() == [4, 2, 1, 4, 2, 1, 4]
    answers = oracle(result.images).argmax(1)
    assert result.own_top1 == pytest.approx((answers == result.targets).float().mean().item())
    assert result.own_top1 > 0.5
    assert result.steps == 2 * 48
    assert result.teacher_images == 8 * 49
    assert oracle.fingerprint() == before


def test_the_same_seed_gives_the_same_images():
    one, again, other = (
        invert(teacher(), [0, 5], 2, steps=5, seed=seed, config=CONFIG) for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_steps_are_a_batchs():
    assert invert_run(teacher(), [0], 2, steps=3, config=CONFIG).steps == 3
    assert invert_run(teacher(), [0], 2, steps=1, config=CONFIG).steps == 1
    short = with_steps(imagenet(0), 300)
    assert (short.low_resolution_iterations, short.iterations, short.warmup) == (200, 100, 10)


OPEN = replace(CONFIG, flip=None)


@pytest.mark.parametrize(
    ("config", "mirrored", "flip"),
    [
        (OPEN, False, 0.0),
        (OPEN, True, 0.5),
        (CONFIG, True, 0.0),
        (replace(CONFIG, flip=0.25), False, 0.25),
        (replace(CONFIG, flip=1.0), None, 1.0),
    ],
)
def test_mirror_images_are_the_setting_s_word_or_else_the_teacher_s(config, mirrored, flip):
    assert with_flip(config, mirrored).flip == flip
    run = invert_run(teacher(), [0], 2, steps=2, config=config, mirrored=mirrored, compile="off")
    assert run.config.flip == flip
    asked = invert(teacher(), [0], 2, steps=2, config=config, mirrored=mirrored, compile="off")
    assert torch.equal(asked, run.images)


def test_all_settings_but_the_authors_for_small_images_leave_mirror_images_open():
    assert {one.flip for one in (natural(), small(), *map(imagenet, range(3)))} == {None}
    assert cifar().flip == 0.0
    assert DeepInversion(teacher(), OPEN).config.flip == 0.0


@pytest.mark.parametrize("flip", [-0.1, 1.1, float("nan")])
def test_a_probability_of_mirror_images_is_one(flip):
    with pytest.raises(DfkdError, match="flip must be in"):
        replace(CONFIG, flip=flip)


def test_what_was_used_is_told_and_what_was_decided_before_the_first_step():
    told: list[object] = []
    result = invert_run(
        teacher(), [0, 1], 6, steps=7, config=CONFIG, compile="off", begun=told.append,
        progress=lambda *_: told.append("step"),
    )  # fmt: skip
    assert told == [result.decided] + ["step"] * 14
    assert (result.config.total_iterations, result.config.batch_size) == (7, 3)
    assert result.complete


def test_losses_that_are_no_numbers_are_an_error():
    config = replace(CONFIG, lr=1e30, warmup=0, basis="pixel")
    with pytest.raises(DfkdError, match=r"synthesis/\w+ is (nan|inf) after 4 steps: lower lr"):
        invert(teacher(), [0], 2, steps=4, config=replace(config, clip=False), compile="off")


@pytest.mark.parametrize("count", [2, 9])
def test_a_budget_in_minutes_is_kept_and_schedules_span_it(count):
    shares: list[float] = []
    started = time.perf_counter()
    result = invert_run(
        teacher(), [0, 1], count, minutes=3 / 60, config=CONFIG,
        progress=lambda share, metrics: shares.append(share),
    )  # fmt: skip
    assert 2.5 < time.perf_counter() - started < 3 * 1.05 + 2
    assert len(result.images) == count
    assert result.steps == len(shares)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_stopped_early_it_returns_what_there_is():
    calls: list[float] = []
    result = invert_run(
        teacher(), [0, 1], 8, config=CONFIG,
        progress=lambda share, metrics: calls.append(share), stop=lambda: len(calls) == 3,
    )  # fmt: skip
    assert len(result.images) == 4
    assert result.steps == 3
    assert not result.complete


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": [6]}, "out of range: the teacher has classes 0 to 5"),
        ({"classes": [-1]}, "out of range"),
        ({"classes": []}, "at least one class"),
        ({"count": 0}, "count"),
        ({"steps": 0}, "budget"),
        ({"minutes": -1}, "budget"),
        ({"minutes": float("nan")}, "budget"),
        ({"steps": 5, "minutes": 1}, "minutes"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message):
    with pytest.raises(DfkdError, match=message):
        invert(teacher(), **{"classes": [0], "count": 1, "config": CONFIG, **arguments})


def test_a_teacher_without_statistics_is_refused():
    layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
    bare = Teacher(layers, ImageSpec(3, 12, 12))
    with pytest.raises(DfkdError, match="statistics"):
        invert(bare, [0], 1, config=CONFIG)


def slow_colour_noise(images: torch.Tensor) -> float:
    verdicts = []
    for image in images:
        for top in range(0, image.shape[1] - 15, 16):
            for left in range(0, image.shape[2] - 15, 16):
                jumps = []
                for y in range(top, top + 16):
                    for x in range(left, left + 15):
                        here, there = image[:, y, x], image[:, y, x + 1]
                        jumps.append(abs(float((here[0] - here[1]) - (there[0] - there[1]))))
                verdicts.append(sum(jumps) / len(jumps) > 16 / 255)
    return sum(verdicts) / len(verdicts)


@pytest.mark.parametrize("size", [(16, 16), (37, 50), (32, 33)])
def test_colour_noise_is_the_obvious_count(size):
    generator = torch.Generator().manual_seed(0)
    strength = torch.linspace(0, 0.2, 4)[:, None, None, None]
    images = 0.5 + strength * torch.randn((4, 3, *size), generator=generator)
    assert colour_noise(images) == pytest.approx(slow_colour_noise(images))


def test_colour_noise_sees_colour_only():
    grey = torch.rand(2, 1, 32, 32).expand(2, 3, 32, 32)
    assert colour_noise(grey) == 0
    assert colour_noise(torch.rand(2, 3, 32, 32)) == 1
    for wrong in (grey[:, :1], torch.rand(1, 3, 8, 32)):
        with pytest.raises(DfkdError, match="colour noise"):
            colour_noise(wrong)


def test_colour_noise_of_a_still_ramp_is_none():
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    assert colour_noise(ramp) == 0
