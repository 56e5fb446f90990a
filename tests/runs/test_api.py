"""Whole short runs through ``dfkd.distill``: files, honesty, determinism, resume."""

import copy
import json
from dataclasses import replace

import pytest
import torch

import dfkd
from dfkd.datasets import GivenImages, LabelledImages
from dfkd.networks import vgg
from dfkd.recipes import override, with_scheme
from dfkd.runs import results
from dfkd.runs.distillation import distill
from dfkd.teacher import Teacher
from dfkd.training import checkpoint
from support.methods import ORDINARY, small
from support.runs import run, same


@pytest.mark.parametrize("method", ORDINARY)
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


@pytest.mark.parametrize("method", ORDINARY)
def test_seeds_decide(method, tiny_teacher, tiny_student):
    first, again = (run(tiny_teacher, tiny_student, method) for _ in range(2))
    assert same(first.student.state_dict(), again.student.state_dict())
    other = distill(
        tiny_teacher, copy.deepcopy(tiny_student), steps=8, precision="fp32", device="cpu",
        recipe=replace(small(method), seed=5),
    )  # fmt: skip
    assert not same(first.student.state_dict(), other.student.state_dict())


@pytest.mark.parametrize("method", ORDINARY)
def test_interrupted_and_resumed_equals_uninterrupted(
    method, tiny_teacher, tiny_student, tmp_path, monkeypatch
):
    whole = run(tiny_teacher, tiny_student, method)

    from dfkd.training import engine

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


@pytest.fixture
def halfway(tiny_teacher, tiny_student, tmp_path):
    """The directory of a robust run of two steps, and the recipe it was started with."""
    settings = ["scheme_config.steps=1", "learner.lr=0.01"]
    plan = override(with_scheme(small("drawings"), "robust"), settings)
    go_on(plan, tiny_teacher, tiny_student, tmp_path / "run", steps=2, resume=False)
    return tmp_path / "run", plan


def go_on(plan, teacher, student, out, **options):
    options = {"steps": 3, "resume": True, "device": "cpu", "precision": "fp32"} | options
    return distill(teacher, student, recipe=plan, out=out, **options)


def without_making(plan):
    """Return a plan without settings of how images are made, which given ones would ignore."""
    plain = dfkd.recipe(plan.method, alternation={"batch_size": plan.alternation.batch_size})
    return replace(plan, synthesizer=plain.synthesizer, alternation=plain.alternation)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (["scheme=offline"], "scheme robust, now offline"),
        (["scheme=online"], "scheme robust, now online"),
        (["scheme_config.steps=2"], "scheme_config.steps 1, now 2"),
        (["learner.lr=0.02"], "learner.lr 0.01, now 0.02"),
        (["learner.temperature=2"], "learner.temperature 4.0, now 2.0"),
        (["learner.knowledge=kd + hint"], "learner.knowledge kd, now kd \\+ hint"),
        (["learner.pairs=[teacher.a=student.b]"], "pairs , now teacher.a=student.b"),
        (["method=default"], "method drawings, now redraw"),
        (["alternation.batch_size=32"], "alternation.batch_size 16, now 32"),
        (["init=teacher"], "init auto, now teacher"),
        (["seed=1"], "seed 0, now 1"),
    ],
)
def test_a_run_goes_on_as_it_was_set_or_not_at_all(
    settings, what, halfway, tiny_teacher, tiny_student
):
    out, plan = halfway
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    weights = copy.deepcopy(tiny_student.state_dict())
    with pytest.raises(dfkd.DfkdError, match=what) as refusal:
        go_on(override(plan, settings), tiny_teacher, tiny_student, out)
    assert "\n" not in str(refusal.value)
    assert same(weights, tiny_student.state_dict())
    assert files == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_run_goes_on_with_its_own_networks_and_images(halfway, tiny_teacher, tiny_student):
    out, plan = halfway
    with pytest.raises(dfkd.DfkdError, match=r"student.stages.0.0.weight 8x1x3x3, now 6x1x3x3"):
        go_on(plan, tiny_teacher, vgg((6,), 1, 1, 4), out)
    shifted = Teacher(tiny_teacher.network, replace(tiny_teacher.spec, mean=(0.5,)))
    with pytest.raises(dfkd.DfkdError, match=r"image.mean 0.4, now 0.5"):
        go_on(plan, shifted, tiny_student, out)
    other = Teacher(vgg((8, 16), 1, 1, 4), tiny_teacher.spec)
    with pytest.raises(dfkd.DfkdError, match=f"teacher {tiny_teacher.fingerprint()[:16]}, now"):
        go_on(plan, other, tiny_student, out)
    images = GivenImages(torch.zeros(16, 1, 8, 8, dtype=torch.uint8), None, "npz:own.npz")
    with pytest.raises(dfkd.DfkdError, match=r"images None, now npz:own.npz"):
        go_on(without_making(plan), tiny_teacher, tiny_student, out, images=images)
    with pytest.raises(dfkd.DfkdError, match=r"alternation.batch_size 16, now 4"):
        go_on(plan, tiny_teacher, tiny_student, out, batch_size="4")


def test_a_longer_budget_and_another_way_to_compute_are_the_same_run(
    halfway, tiny_teacher, tiny_student
):
    out, plan = halfway
    options = {"steps": 4, "precision": "bf16", "recompute": True, "compile": "off"}
    assert go_on(plan, tiny_teacher, tiny_student, out, **options).figures["student_steps"] == 4
    state = checkpoint.load(out / "checkpoint")
    del state["run"]  # as checkpoints were before they had it
    checkpoint.save(out / "checkpoint", state)
    again = go_on(plan, tiny_teacher, tiny_student, out, minutes=1e-6, steps=None)
    assert again.figures["student_steps"] == 4


def test_a_checkpoint_of_another_version_is_said_to_be_one(tiny_teacher, tiny_student, tmp_path):
    plan, out = with_scheme(small("drawings"), "self"), tmp_path / "run"
    plan = override(plan, ["scheme_config.form=generations"])
    go_on(plan, tiny_teacher, tiny_student, out, steps=2, resume=False)
    state = checkpoint.load(out / "checkpoint")
    # As it was before generations began with the run's own weights.
    del state["distiller"]["extras"]["lineage"]["start"]
    checkpoint.save(out / "checkpoint", state)
    with pytest.raises(dfkd.DfkdError, match=r"another version .*it has no 'start'.* `overwrite`"):
        go_on(plan, tiny_teacher, tiny_student, out)


def test_a_student_that_cannot_be_measured_is_there_all_the_same(
    tiny_teacher, tiny_student, tmp_path, monkeypatch
):
    def fail(*_):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(results, "measured", fail)
    with pytest.raises(RuntimeError, match="full"):
        run(tiny_teacher, tiny_student, "drawings", out=tmp_path / "run")
    assert (tmp_path / "run" / "student.safetensors").is_file()


def test_evaluation_is_for_figures_alone(tiny_teacher, tiny_student, tmp_path):
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    data = LabelledImages(images, torch.arange(40) % 4, "noise")
    without = run(tiny_teacher, tiny_student, "redraw")
    measured = run(tiny_teacher, tiny_student, "redraw", evaluation=data, out=tmp_path / "run")
    assert same(without.student.state_dict(), measured.student.state_dict())
    assert 0 <= measured.figures["student_accuracy"] <= 1
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["real_data"]["used"] is True


def test_a_student_of_other_classes_is_refused_before_anything_is_written(tiny_teacher, tmp_path):
    with pytest.raises(dfkd.DfkdError, match="class"):
        distill(tiny_teacher, vgg((8,), 1, 1, 7), steps=2, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_without_statistics_learns_from_drawings_alone(tiny_student):
    from torch import nn

    from dfkd.teacher import Teacher
    from dfkd.teacher.spec import ImageSpec

    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))
    teacher = Teacher(network, ImageSpec(1, 8, 8))
    assert run(teacher, tiny_student, "redraw").figures["student_steps"] == 8
    with pytest.raises(dfkd.DfkdError, match="drawings"):
        run(teacher, tiny_student, "nayer")
