"""Whole short runs through ``dfkd.distill``: files, honesty, determinism, resume."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from test_methods import ROWS, small

import dfkd
from dfkd import checkpoint
from dfkd.api import distill
from dfkd.datasets import LabelledImages

METHODS = tuple(ROWS)


def run(teacher, student, method, **options):
    options = {"steps": 8, "precision": "fp32", "device": "cpu"} | options
    return distill(teacher, copy.deepcopy(student), recipe=small(method), **options)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_contract_of_a_run(method, tiny_teacher, tiny_student, tmp_path):
    before = tiny_teacher.fingerprint()
    result = run(tiny_teacher, tiny_student, method, out=tmp_path / "run")
    assert tiny_teacher.fingerprint() == before
    assert not same(result.student.state_dict(), tiny_student.state_dict())
    assert not result.student.training
    found = {path.name for path in (tmp_path / "run").iterdir()}
    assert found >= {
        "manifest.json", "result.json", "metrics.jsonl", "tb", "report.html", "grid.png",
        "student.safetensors", "checkpoint",
    }  # fmt: skip
    figures = json.loads((tmp_path / "run" / "result.json").read_text())
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert figures["student_steps"] == 8
    assert figures["images_synthesized"] > 0
    assert figures["teacher_forwards"] > 0
    assert figures["teacher_accuracy"] is None
    assert 0 <= figures["agreement"] <= 1
    assert manifest["teacher_hash_before"] == manifest["teacher_hash_after"] == before
    assert manifest["real_data"]["used"] is False


@pytest.mark.parametrize("method", METHODS)
def test_seeds_decide(method, tiny_teacher, tiny_student):
    first, again = (run(tiny_teacher, tiny_student, method) for _ in range(2))
    assert same(first.student.state_dict(), again.student.state_dict())
    other = distill(
        tiny_teacher, copy.deepcopy(tiny_student), steps=8, precision="fp32", device="cpu",
        recipe=replace(small(method), seed=5),
    )  # fmt: skip
    assert not same(first.student.state_dict(), other.student.state_dict())


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_and_resumed_equals_uninterrupted(
    method, tiny_teacher, tiny_student, tmp_path, monkeypatch
):
    whole = run(tiny_teacher, tiny_student, method)

    from dfkd import engine

    original = engine.Engine._distill

    def stop_after_five(self, progress):
        original(self, progress)
        if self.account.steps == 5:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(engine.Engine, "_distill", stop_after_five)
    out = tmp_path / "run"
    first = run(tiny_teacher, tiny_student, method, out=out)
    assert first.interrupted
    assert checkpoint.load(out / "checkpoint")["account"]["steps"] == 5
    monkeypatch.undo()
    second = run(tiny_teacher, tiny_student, method, out=out, resume=True)
    assert not second.interrupted
    assert same(whole.student.state_dict(), second.student.state_dict())


def test_evaluation_is_for_figures_alone(tiny_teacher, tiny_student, tmp_path):
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    data = LabelledImages(images, torch.arange(40) % 4, "noise")
    without = run(tiny_teacher, tiny_student, "default")
    measured = run(tiny_teacher, tiny_student, "default", evaluation=data, out=tmp_path / "run")
    assert same(without.student.state_dict(), measured.student.state_dict())
    assert 0 <= measured.figures["student_accuracy"] <= 1
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["real_data"]["used"] is True


def test_a_student_of_other_classes_is_refused_before_anything_is_written(tiny_teacher, tmp_path):
    from dfkd.networks import vgg

    with pytest.raises(dfkd.DfkdError, match="class"):
        distill(tiny_teacher, vgg((8,), 1, 1, 7), steps=2, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_without_statistics_learns_from_drawings_alone(tiny_student):
    from torch import nn

    from dfkd.spec import ImageSpec
    from dfkd.teacher import Teacher

    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))
    teacher = Teacher(network, ImageSpec(1, 8, 8))
    assert run(teacher, tiny_student, "default").figures["student_steps"] == 8
    with pytest.raises(dfkd.DfkdError, match="drawings"):
        run(teacher, tiny_student, "nayer")
