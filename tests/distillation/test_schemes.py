"""The contract that every scheme keeps: one table, a row a form."""

import copy
import dataclasses
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import dfkd
from dfkd import recipes
from dfkd.errors import DfkdError
from dfkd.networks import resnet
from dfkd.protocols import Batch
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import SCHEMES
from dfkd.tasks import Prediction
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from dfkd.training.budget import Alternation
from dfkd.training.distributed import Runtime
from support.methods import small, teacher_for
from support.schemes import (
    CONFIG,
    ROWS,
    TOGETHER,
    build,
    check_resume,
    make_student,
    make_teacher,
    run,
    some_batch,
    trained,
)

QUICKLY_TRIED = ("drawings", "redraw", "nayer")


def test_every_scheme_has_a_row():
    composed = {name for name, row in SCHEMES.items() if row.wrapped_type}
    assert {row.partition(":")[0] for row in ROWS} == set(SCHEMES) - composed
    assert composed <= {"ensemble", "cross_modal"}


@pytest.mark.parametrize("row", ROWS)
def test_the_teacher_stays_and_the_student_moves(row):
    teacher, student = make_teacher(), make_student()
    before, weights = teacher.fingerprint(), copy.deepcopy(student.state_dict())
    distiller = build(row, teacher, student)
    metrics = run(distiller, teacher, 3)[-1]
    assert teacher.fingerprint() == before
    assert all(p.grad is None and not p.requires_grad for p in teacher.network.parameters())
    moved = distiller.student.state_dict()
    assert any(not torch.equal(weights[k], v) for k, v in moved.items() if k in weights) or (
        set(weights).isdisjoint(moved)
    )
    assert metrics["kd"] > 0
    assert all(bool(torch.isfinite(torch.as_tensor(value))) for value in metrics.values())
    assert sum(distiller.class_counts()) == 3 * 32
    logits = distiller.finished()(teacher.spec.normalize(some_batch(teacher).inputs))
    assert logits.shape == (32, 4)
    assert not distiller.finished().training


@pytest.mark.parametrize("row", ROWS)
def test_a_seed_decides_everything(row):
    teacher = make_teacher()
    one, other, third = (
        run(build(row, teacher, make_student(), seed=seed), teacher, 3)[-1] for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], third[name]) for name in one)


@pytest.mark.parametrize("row", ROWS)
def test_resumed_is_uninterrupted(row):
    teacher = make_teacher()
    whole = build(row, teacher, make_student())
    run(whole, teacher, 5)
    saved = copy.deepcopy(whole.state_dict())
    wanted = run(whole, teacher, 3, start=5)
    again = build(row, teacher, make_student(seed=7))
    again.load_state_dict(saved)
    found = run(again, teacher, 3, start=5)
    for one, other in zip(wanted, found, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    images = teacher.spec.normalize(some_batch(teacher).inputs)
    assert torch.equal(whole.finished()(images), again.finished()(images))


@pytest.mark.parametrize("row", ROWS)
def test_the_student_comes_nearer_to_the_teacher(row):
    teacher = make_teacher()
    distiller = build(row, teacher, make_student(), dataclasses.replace(CONFIG, ema=0.0, flip=0.0))
    batch = some_batch(teacher, 64)
    first = distiller.update(batch)
    for _ in range(60):
        last = distiller.update(batch)
    assert last["kd"] < 0.7 * first["kd"]


@pytest.mark.parametrize("row", ROWS)
def test_any_knowledge_goes_with_it(row):
    teacher = make_teacher()
    config = dataclasses.replace(CONFIG, knowledge="kd + hint + at + 0.1*hard + rkd + crd")
    metrics = run(build(row, teacher, make_student(), config), teacher, 2)[-1]
    for name in ("kd", "hint", "at", "hard", "rkd", "crd"):
        assert metrics[f"{name}"] > 0, name


@pytest.mark.parametrize("row", ROWS)
def test_steps_stay_on_their_device_and_read_nothing_back(row):
    """On meta ``.item()`` and ``bool(tensor)`` fail: they would make a GPU wait."""
    teacher = Teacher(resnet(8, 1, 4).to("meta"), ImageSpec(1, 16, 16))
    distiller = build(row, teacher, resnet(8, 1, 4).to("meta"))
    batch = Batch(
        torch.empty(4, 1, 16, 16, device="meta"),
        Prediction(torch.empty(4, 4, device="meta")),
        torch.empty(4, dtype=torch.int64, device="meta"),
    )
    for step in range(2):
        distiller.set_progress(step / 8)
        metrics = distiller.update(batch)
    assert all(value.device.type == "meta" for value in metrics.values())


@pytest.mark.parametrize("row", ROWS)
def test_narrow_floats_do(row):
    teacher = make_teacher()
    runtime = Runtime(torch.device("cpu"), "bf16", 0, 1)
    metrics = run(build(row, teacher, make_student(), runtime=runtime), teacher, 2)[-1]
    assert all(bool(torch.isfinite(value)) for value in metrics.values())
    assert metrics["kd"].dtype == torch.float32


def small_plan(row, method):
    """A run of few images: the scheme of ``row`` with what ``method`` makes."""
    name = row.partition(":")[0]
    plan = recipes.override(
        recipes.with_scheme(recipes.recipe(method), name),
        [f"scheme_config.{key}={value}" for key, value in ROWS[row].items()],
    )
    small = {
        "drawings": {},
        "redraw": {"draws": 16, "refine_batch": 8, "refine_steps": 2},
        "nayer": {"ngf": 4, "latent_dim": 8, "synthesis_batch_size": 8, "g_steps": 2},
    }[method]
    synthesizer = dataclasses.replace(plan.synthesizer, **small)
    alternation = Alternation(warmup_updates=1, steps_per_update=2, batch_size=16)
    return dataclasses.replace(plan, synthesizer=synthesizer, alternation=alternation)


@pytest.mark.parametrize("method", QUICKLY_TRIED)
@pytest.mark.parametrize("row", ROWS)
def test_it_goes_with_any_method(row, method):
    teacher, plan = make_teacher(), small_plan(row, method)
    before = teacher.fingerprint()
    result = dfkd.distill(teacher, make_student(), recipe=plan, steps=4, device="cpu")
    assert teacher.fingerprint() == before
    assert result.figures["student_steps"] == 4
    assert result.figures["scheme"] == row.partition(":")[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in METHODS if name not in QUICKLY_TRIED])
@pytest.mark.parametrize("row", ROWS)
def test_it_goes_with_every_other_method(row, method):
    teacher, name = teacher_for(method), row.partition(":")[0]
    settings = [f"scheme_config.{key}={value}" for key, value in ROWS[row].items()]
    plan = recipes.override(recipes.with_scheme(small(method), name), settings)
    before = teacher.fingerprint()
    result = dfkd.distill(teacher, make_student(), recipe=plan, steps=4, device="cpu")
    assert teacher.fingerprint() == before
    assert (result.figures["student_steps"], result.figures["scheme"]) == (4, name)


def whole_run(row, **options):
    """A run with knowledge that has parts to learn, and a student that is averaged."""
    plan = small_plan(row, "redraw")
    learner = dataclasses.replace(plan.learner, knowledge="kd + hint + crd")
    return dfkd.distill(
        make_teacher(), make_student(), recipe=dataclasses.replace(plan, learner=learner),
        steps=8, device="cpu", precision="fp32", **options,
    )  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(row, tmp_path, monkeypatch):
    check_resume(partial(whole_run, row), tmp_path / "run", monkeypatch)


@pytest.mark.parametrize(("name", "says"), [("ensemble", "`teachers`"), ("cross_modal", "front")])
def test_what_composes_teachers_does_not_take_one_as_it_is(name, says):
    plan = recipes.with_scheme(recipes.recipe("drawings"), name)
    with pytest.raises(DfkdError, match=f"{name} does not take a teacher as.*{says}"):
        dfkd.distill(make_teacher(), make_student(), recipe=plan, steps=1, device="cpu")


def test_unknown_schemes_and_settings_are_refused():
    with pytest.raises(DfkdError, match="did you mean 'online'"):
        recipes.override(recipes.recipe("default"), ["scheme=onlin"])
    with pytest.raises(DfkdError, match="students"):
        recipes.override(recipes.recipe("default"), ["scheme=online", "scheme_config.studnets=3"])


SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[2])
from support.schemes import trained
from dfkd.training import distributed
values = trained(sys.argv[1], devices=2)
if distributed.is_first():
    print(json.dumps(values))
"""


@pytest.mark.slow
@pytest.mark.parametrize("row", TOGETHER)
def test_two_processes_train_as_one(row, tmp_path):
    script = tmp_path / "script.py"  # a launcher starts it again: it must be a file
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), row, str(Path(__file__).parents[1])],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(
        trained(row), rel=1e-4, abs=1e-5
    )
