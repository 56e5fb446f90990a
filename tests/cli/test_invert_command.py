"""``dfkd invert``: its settings, what stops it, and that pictures are never lost on the way."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dfkd import recipes
from dfkd.cli import arguments, main
from dfkd.cli.invert import _setting
from dfkd.datasets import load_images
from dfkd.report.log import read_metrics
from dfkd.runs import pictures
from dfkd.synthesis.methods.deep_inversion import DeepInversion
from dfkd.synthesis.methods.deep_inversion_config import natural, small
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

TEACHER = "bundled:digits_vgg"
WORDS = ("--classes", "1,7", "--count", "3", "--steps", "4", "--compile", "off")
NETWORK = """
import torch
from torch import nn
def teacher(channels=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )
"""


def invert(out, *words, teacher=TEACHER):
    return main(["invert", teacher, *WORDS, "--out", str(out), *words])


def read(out, name):
    return json.loads((out / name).read_text())


def names(out):
    return sorted(path.name for path in (out / "images").iterdir())


def setting(start=None, *, config=None, sets=()):
    command = arguments.Invert(TEACHER, "1", Path("run"), config=config, set=tuple(sets))
    return _setting(command, start or small())


def test_words_are_laid_over_the_file_and_the_file_over_the_size_s_own(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("synthesizer: {jitter: 5, lr: 0.3}\n")
    for start in (small(), natural()):
        assert setting(start) == start
        found = setting(start, config=file, sets=["synthesizer.lr=0.4", "synthesizer.clip=false"])
        assert (found.jitter, found.lr, found.clip) == (5, 0.4, False)
        assert found.basis == start.basis
        assert found.batch_size == start.batch_size


@pytest.mark.parametrize(
    "name", [n for n in recipes.RECIPES if recipes.recipe(n).method == "deep_inversion"]
)
def test_a_printed_recipe_of_the_method_is_a_setting(name, tmp_path):
    file = tmp_path / "printed.yaml"
    file.write_text(recipes.to_yaml(recipes.recipe(name)))
    assert setting(config=file) == recipes.recipe(name).synthesizer


def test_what_was_used_is_in_the_manifest(tmp_path, capsys):
    assert invert(tmp_path / "run", "--set", "synthesizer.jitter=2", "--seed", "4") == 0
    manifest = read(tmp_path / "run", "manifest.json")
    recipe = manifest["recipe"]
    assert (recipe["method"], recipe["classes"], recipe["count"]) == ("deep_inversion", [1, 7], 3)
    used = recipe["synthesizer"]
    assert (used["jitter"], used["iterations"], used["batch_size"]) == (2, 4, 3)
    assert used["flip"] == 0.0
    assert manifest["complete"] is read(tmp_path / "run", "result.json")["complete"] is True
    assert read_metrics(tmp_path / "run")[-1]["step"] == 4
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Inverting   0%")
    assert told[1:3] == [*manifest["decisions"], "teacher not compiled: as asked"]
    assert manifest["mirror"]["images"] > 0


def test_settings_decide_what_the_pictures_are(tmp_path):
    for name, words in {"one": (), "same": (), "other": ("--set", "synthesizer.tv_l2=0.5")}.items():
        assert invert(tmp_path / name, *words) == 0
    one, same, other = (
        [(tmp_path / run / "images" / name).read_bytes() for name in names(tmp_path / run)]
        for run in ("one", "same", "other")
    )
    assert one == same
    assert one != other


REFUSED = {
    "unknown": (("--set", "synthesizer.jiter=4"), "unknown key 'synthesizer.jiter'; did you mean"),
    "one level up": (("--set", "jitter=4"), "did you mean 'synthesizer.jitter'"),
    "out of range": (("--set", "synthesizer.flip=2"), "flip must be in [0, 1]"),
    "no number": (("--set", "synthesizer.flip=nan"), "synthesizer.flip: input should be a finite"),
    "no decay": (
        ("--set", "synthesizer.betas=[2, 0.9]"),
        "betas must be in [0, 1), not (2.0, 0.9)",
    ),
    "no size": (("--set", "synthesizer.batch_size=0"), "must be at least 1"),
    "a word": (("--set", "synthesizer.lr=fast"), "synthesizer.lr"),
    "no value": (("--set", "synthesizer.lr"), "--set wants key=value"),
    "the student's": (("--set", "learner.lr=1"), "learner.lr (1.0) would have no say"),
    "the loop's": (("--set", "alternation.batch_size=8"), "alternation.batch_size (8) would"),
    "an option's": (("--set", "seed=3"), "seed (3) would have no say"),
    "a method": (("--set", "method=default"), "pictures by deep_inversion, not by redraw"),
    "a student": (("--set", "synthesizer.adi=1"), "invert has none"),
    "no file": (("--config", "none.yaml"), "--config none.yaml cannot be read"),
    "no mapping": (("--config", "list.yaml"), "must be a YAML mapping"),
    "another recipe": (("--config", "nayer.yaml"), "not by nayer"),
    "diverges": (
        ("--set", "synthesizer.lr=1e30", "--set", "synthesizer.clip=false"),
        "is nan after 4 steps: lower lr",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_cannot_be_are_one_line(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("list.yaml").write_text("[1, 2]\n")
    Path("nayer.yaml").write_text(recipes.to_yaml(recipes.recipe("nayer")))
    words, hint = REFUSED[case]
    assert invert(tmp_path / "run", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dfkd: ")
    assert hint in line
    assert len(line) <= 300
    assert not (tmp_path / "run" / "images").exists()


def test_a_mistake_in_words_is_told_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.modules["dfkd.cli.invert"], "teacher_of", pytest.fail)
    assert invert(tmp_path / "run", "--set", "synthesizer.jiter=4") == 2


def stopping(monkeypatch, kind, at):
    """A signal of that kind after the step of that number."""
    step, taken = DeepInversion.step, []

    def interrupted(self, student=None):
        taken.append(step(self, student))
        if len(taken) == at:
            os.kill(os.getpid(), kind)
        return taken[-1]

    monkeypatch.setattr(DeepInversion, "step", interrupted)
    return taken


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("at", "kept"), [(1, 2), (2, 2), (6, 4), (15, 8)])
def test_a_signal_ends_the_step_and_keeps_the_pictures(
    kind, at, kept, tmp_path, capsys, monkeypatch
):
    taken, out = stopping(monkeypatch, kind, at), tmp_path / "run"
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert invert(out, "--count", "9", "--batch-size", "2") == 130
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert len(taken) == at
    assert len(names(out)) == kept
    assert {path.name for path in out.iterdir()} >= {"grid.png", "report.html", "metrics.jsonl"}
    assert read(out, "manifest.json")["complete"] is read(out, "result.json")["complete"] is False
    assert read(out, "result.json")["images_synthesized"] == kept
    assert read_metrics(out)[-1]["step"] == at
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"interrupted after step {at}: {kept} of 9 pictures are in {out} as they stood"


def test_killed_and_resumed_equals_uninterrupted(tmp_path, capsys):
    """A real SIGKILL, whenever it comes; the budget is in steps, which no clock decides."""
    words = ["--count", "4", "--batch-size", "2", "--steps", "400", "--checkpoint-every", "0.05"]
    assert invert(tmp_path / "whole", *words) == 0
    out = tmp_path / "run"
    command = [sys.executable, "-m", "dfkd", "invert", TEACHER, *WORDS, "--out", str(out), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        deadline = time.monotonic() + 120
        while not (out / "checkpoint" / "last.pt").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "images").exists()
    assert invert(out, *words, "--resume") == 0
    assert names(out) == names(tmp_path / "whole")
    for name in names(out):
        ours, theirs = (run / "images" / name for run in (out, tmp_path / "whole"))
        assert ours.read_bytes() == theirs.read_bytes()
    assert read(out, "result.json")["steps"] == 800
    capsys.readouterr()
    assert invert(out, *words, "--resume", "--seed", "1") == 2
    assert "seed 0, now 1" in capsys.readouterr().err


def test_a_signal_with_the_last_step_has_nothing_to_stop(tmp_path, monkeypatch):
    stopping(monkeypatch, signal.SIGTERM, 4)
    assert invert(tmp_path / "run") == 0
    assert read(tmp_path / "run", "manifest.json")["complete"] is True


def test_a_process_that_is_terminated_writes_what_it_has(tmp_path):
    out = tmp_path / "run"
    words = [*WORDS[:4], "--steps", "100000", "--compile", "off", "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-m", "dfkd", "invert", TEACHER, *words],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while not out.exists():  # made at the first step
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "3 of 3 pictures are in" in errors.splitlines()[-1]
    assert len(names(out)) == 3
    assert read(out, "manifest.json")["complete"] is False
    assert (out / "report.html").stat().st_size > 0


@pytest.mark.parametrize("late", ["write_grid", "write_page"])
def test_what_fails_after_the_pictures_costs_none(late, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "run" / "x"))

    monkeypatch.setattr(pictures, late, full)
    assert invert(tmp_path / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"dfkd: {tmp_path / 'run' / 'x'} cannot be written (No space left on device): make room "
        "there, or choose another --out"
    )
    assert len(names(tmp_path / "run")) == 3
    assert read(tmp_path / "run", "result.json")["images_synthesized"] == 3


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 13])
def test_pictures_of_any_channels_are_kept_whole(channels, tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    out, uri = tmp_path / "run", f"{tmp_path / 'net.py'}:teacher?channels={channels}"
    assert invert(out, "--image", f"{channels}x8x8", teacher=uri) == 0
    assert len(names(out)) == 3
    assert (out / "grid.png").exists()
    assert (out / "images.npz").exists() == (channels not in (1, 3))
    if channels not in (1, 3):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(10))
        network(torch.rand(1, channels, 8, 8))
        own = Teacher(network, ImageSpec(channels, 8, 8))
        given = load_images(f"npz:{out / 'images.npz'}", own)
        assert given.images.shape == (3, channels, 8, 8)
        assert given.labels.tolist() == [1, 7, 1]
    assert invert(out, "--image", f"{channels}x8x8", "--overwrite", teacher=uri) == 0
