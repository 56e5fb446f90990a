"""Inversion's contract, and the measure of colour noise against a slow, obvious oracle."""

import os
import signal
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.evaluation.colour import colour_noise
from dfkd.report.log import read_metrics
from dfkd.runs import inversion_loop
from dfkd.runs.callbacks import Callback
from dfkd.runs.inversion import invert
from dfkd.runs.inversion_order import with_steps
from dfkd.runs.options import Compute, Output
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


class Watcher(Callback):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def on_start(self, facts):
        self.calls.append(("start", facts))

    def on_log(self, progress, step, metrics, class_counts):
        self.calls.append(("log", progress, step, metrics))


def stopping(monkeypatch, at):
    """Ctrl-C after the step of that number."""
    step, taken = DeepInversion.step, []

    def interrupted(self, student=None):
        taken.append(step(self, student))
        if len(taken) == at:
            os.kill(os.getpid(), signal.SIGINT)
        return taken[-1]

    monkeypatch.setattr(DeepInversion, "step", interrupted)


def test_images_are_exact_8_bit_and_classes_take_turns():
    oracle = teacher()
    before = oracle.fingerprint()
    result = invert(oracle, [4, 2, 1], 7, config=CONFIG)
    assert result.images.shape == (7, 3, 12, 12)
    assert torch.equal((result.images * 255).round() / 255, result.images)
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    assert result.targets.tolist() == [4, 2, 1, 4, 2, 1, 4]
    answers = oracle(result.images).argmax(1)
    assert result.metrics.own_top1 == pytest.approx(
        (answers == result.targets).float().mean().item()
    )
    assert result.metrics.own_top1 > 0.5
    assert result.metrics.steps == 2 * 48
    assert result.metrics.teacher_forwards == 8 * 49
    assert oracle.fingerprint() == before


def test_the_same_seed_gives_the_same_images():
    one, again, other = (
        invert(teacher(), [0, 5], 2, steps=5, seed=seed, config=CONFIG).images for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_steps_are_a_batchs():
    assert invert(teacher(), [0], 2, steps=3, config=CONFIG).metrics.steps == 3
    assert invert(teacher(), [0], 2, steps=1, config=CONFIG).metrics.steps == 1
    short = with_steps(imagenet(0), 300)
    assert (short.low_resolution_iterations, short.iterations, short.warmup) == (200, 100, 10)


OPEN = replace(CONFIG, flip=None)
PLAIN = Compute(compile="off")


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
    result = invert(teacher(), [0], 2, steps=2, config=with_flip(config, mirrored), compute=PLAIN)
    assert result.config.flip == flip


def test_all_settings_but_the_authors_for_small_images_leave_mirror_images_open():
    assert {one.flip for one in (natural(), small(), *map(imagenet, range(3)))} == {None}
    assert cifar().flip == 0.0
    assert DeepInversion(teacher(), OPEN).config.flip == 0.0


@pytest.mark.parametrize("flip", [-0.1, 1.1, float("nan")])
def test_a_probability_of_mirror_images_is_one(flip):
    with pytest.raises(DfkdError, match="flip must be in"):
        replace(CONFIG, flip=flip)


def test_what_was_used_is_told_and_what_was_decided_before_the_first_step():
    watcher = Watcher()
    result = invert(
        teacher(), [0, 1], 6, steps=7, config=CONFIG, compute=PLAIN, callbacks=[watcher]
    )
    decided = {name: getattr(result.metrics, name) for name in ("compiled", "mirror", "decisions")}
    assert watcher.calls[0] == ("start", decided)
    assert [call[0] for call in watcher.calls[1:]] == ["log"]
    assert watcher.calls[-1][1:3] == (1.0, 14)
    assert (result.config.total_iterations, result.config.batch_size) == (7, 3)
    assert result.metrics.complete
    assert result.log[-1]["step"] == 14
    assert result.log[-1].keys() == {"step", "seconds", *watcher.calls[-1][3]}


def test_losses_that_are_no_numbers_are_an_error():
    config = replace(CONFIG, lr=1e30, warmup=0, basis="pixel")
    with pytest.raises(DfkdError, match=r"synthesis/\w+ is (nan|inf) after 4 steps: lower lr"):
        invert(teacher(), [0], 2, steps=4, config=replace(config, clip=False), compute=PLAIN)


@pytest.mark.parametrize("count", [2, 9])
def test_a_budget_in_minutes_is_kept_and_schedules_span_it(count, monkeypatch):
    shares: list[float] = []
    monkeypatch.setattr(inversion_loop, "LOG_EVERY", 0.0)
    watcher = Watcher()
    started = time.perf_counter()
    result = invert(teacher(), [0, 1], count, minutes=3 / 60, config=CONFIG, callbacks=[watcher])
    assert 2.5 < time.perf_counter() - started < 3 * 1.05 + 2
    assert len(result.images) == count
    shares = [call[1] for call in watcher.calls if call[0] == "log"]
    assert result.metrics.steps == len(shares) - 1  # the last one is told twice
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_stopped_early_it_returns_what_there_is(monkeypatch):
    stopping(monkeypatch, at=3)
    result = invert(teacher(), [0, 1], 8, config=CONFIG)
    assert len(result.images) == 4
    assert result.metrics.steps == 3
    assert result.interrupted


@pytest.mark.parametrize("at", [3, 5, 11, 12])
def test_interrupted_and_resumed_equals_uninterrupted(at, tmp_path, monkeypatch):
    """Within a batch, at the end of one, in the last one, and in a change of resolution."""
    options = {"steps": 5, "config": replace(OPEN, batch_size=3), "seed": 3}
    whole = invert(teacher(), [0, 1], 8, output=tmp_path / "whole", **options)
    stopping(monkeypatch, at)
    first = invert(teacher(), [0, 1], 8, output=tmp_path / "run", **options)
    assert first.interrupted
    monkeypatch.undo()
    second = invert(teacher(), [0, 1], 8, output=Output(tmp_path / "run", resume=True), **options)
    assert torch.equal(whole.images, second.images)
    assert torch.equal(whole.targets, second.targets)
    for name in ("own_top1", "steps", "teacher_forwards", "mirror", "decisions", "complete"):
        assert getattr(second.metrics, name) == getattr(whole.metrics, name), name
    assert read_metrics(tmp_path / "run")[-1]["step"] == 15
    again = invert(teacher(), [0, 1], 8, output=Output(tmp_path / "run", resume=True), **options)
    assert torch.equal(whole.images, again.images)


def test_a_run_goes_on_as_it_was_set_or_not_at_all(tmp_path, monkeypatch):
    stopping(monkeypatch, 2)
    order = {"classes": [0, 1], "count": 4, "steps": 5, "config": CONFIG, "seed": 3}
    assert invert(teacher(), output=tmp_path / "run", **order).interrupted
    other = {
        "count": (5, "count 4, now 5"),
        "seed": (4, "seed 3, now 4"),
        "classes": ([1, 0], "classes 0 1, now 1 0"),
        "steps": (6, "steps 5, now 6"),
        "config": (replace(CONFIG, lr=0.2), "synthesizer.lr 0.3, now 0.2"),
    }
    for name, (value, words) in other.items():
        changed = order | {"output": Output(tmp_path / "run", resume=True), name: value}
        with pytest.raises(DfkdError, match=words):
            invert(teacher(), **changed)


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
