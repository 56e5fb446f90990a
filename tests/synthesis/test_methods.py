"""The contract of every synthesis method, one row each; an oracle of its own is in test_NAME.py.

A new method adds a row here and one in ``dfkd.recipes.methods``.
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from dfkd import recipes
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.errors import DfkdError
from dfkd.networks import resnet
from dfkd.networks.fingerprint import fingerprint
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import build_distiller
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from support.methods import (
    ORDINARY,
    ROWS,
    Odd,
    build,
    make_bare_teacher,
    make_student,
    make_teacher,
    same,
    small,
    teacher_for,
)


def test_no_method_is_forgotten():
    assert set(ROWS) == set(METHODS)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("method", ROWS)
def test_images_come_and_nobody_else_changes(method, channels):
    row, teacher, student = ROWS[method], teacher_for(method, channels), make_student(channels)
    student.stages[0].eval()
    student.head.bias.requires_grad_(False)
    before = teacher.fingerprint(), fingerprint(student)
    modes = [module.training for module in student.modules()]
    learning = [p.requires_grad for p in student.parameters()]
    synthesizer = build(method, teacher)
    for _ in range(3):
        metrics = synthesizer.update(student)
        assert {f"{name}" for name in row.terms} == set(metrics)
        for name, value in metrics.items():
            assert value.shape == (), name
            assert value.isfinite(), name
            assert value != 0, name
            assert value.dtype == torch.float32, name
            assert not value.requires_grad, name
        batch = synthesizer.sample(20)
    assert (teacher.fingerprint(), fingerprint(student)) == before
    assert [module.training for module in student.modules()] == modes
    assert [p.requires_grad for p in student.parameters()] == learning
    assert all(p.grad is None for p in [*student.parameters(), *teacher.network.parameters()])
    assert batch.inputs.shape == (20, channels, 8, 8)
    assert batch.inputs.dtype == torch.float32
    assert not batch.inputs.requires_grad
    assert batch.inputs.isfinite().all()
    assert batch.inputs.std() > 0.01
    if row.bounded:
        assert 0 <= batch.inputs.min() <= batch.inputs.max() <= 1
    for values in (batch.prediction and batch.prediction.logits, batch.target):
        assert values is None or len(values) == 20
    assert synthesizer.images_made > 0
    if batch.prediction is not None:
        # Cached answers are the teacher's, to the images as they are handed out.
        answers = teacher(batch.inputs)
        torch.testing.assert_close(answers, batch.prediction.logits, rtol=2e-3, atol=2e-3)
        assert synthesizer.teacher_images > 0


KINDS = {  # outputs, task, and rows and targets that follow
    "two classes": (2, None, 1, 2),
    "one logit": (1, None, 1, 2),
    "a thousand classes": (1000, None, 1, 1000),
    "labels": (3, "multilabel", 3, 6),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ORDINARY)
def test_answers_of_every_kind(method, kind):
    outputs, task, rows, targets = KINDS[kind]
    teacher = make_teacher(classes=outputs, task=task)
    student = make_student(classes=outputs)
    synthesizer = build(method, teacher)
    for _ in range(2):
        metrics = synthesizer.update(student)
        assert all(value.isfinite() for value in metrics.values())
        batch = synthesizer.sample(10)
    if batch.prediction is not None:
        assert len(batch.prediction.logits) == 10 * rows
        answers = teacher(batch.inputs)
        torch.testing.assert_close(answers, batch.prediction.logits, rtol=2e-3, atol=2e-3)
    if batch.target is not None:
        assert batch.target.shape == (10,)
        assert 0 <= batch.target.min() <= batch.target.max() < targets
    config = LearnerConfig(knowledge="kd + 0.1*hard + dkd + l1")
    distiller = build_distiller(teacher, student, config, 0)
    found = distiller.update(batch)
    assert all(value.isfinite() for value in found.values())
    assert 0 <= found["agreement"] <= 1


@pytest.mark.parametrize("method", [name for name in ORDINARY if name != "zskt"])
def test_a_teacher_without_norms_and_with_a_pack_is_as_good_as_one_with_norms(method):
    teacher, student = make_bare_teacher(), make_student()
    before = teacher.fingerprint()
    synthesizer = build(method, teacher)
    for _ in range(2):
        metrics = synthesizer.update(student)
        assert {f"{name}" for name in ROWS[method].terms} == set(metrics)
        assert all(value.isfinite() for value in metrics.values())
        assert all(metrics[name] > 0 for name in ("bn", "bn_kl") if name in metrics)
    batch = synthesizer.sample(8)
    assert batch.inputs.isfinite().all()
    assert teacher.fingerprint() == before


@pytest.mark.parametrize("method", ROWS)
def test_sampling_works_before_the_first_update(method):
    batch = build(method, teacher_for(method)).sample(30)
    assert batch.inputs.shape == (30, 1, 8, 8)
    assert batch.inputs.isfinite().all()


@pytest.mark.parametrize("method", ROWS)
def test_a_seed_decides_everything(method):
    found = []
    for seed in (0, 0, 1):
        synthesizer, student = build(method, teacher_for(method), seed), make_student()
        for _ in range(3):
            synthesizer.update(student)
        found.append(synthesizer.sample(9).inputs)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("before", [0, 2, 5])
@pytest.mark.parametrize("method", ROWS)
def test_resumed_equals_uninterrupted(method, before):
    teacher, student = teacher_for(method), make_student()
    whole = build(method, teacher)
    for _ in range(before):
        whole.update(student)
    whole.sample(3)
    state = copy.deepcopy(whole.state_dict())
    aliased = whole.state_dict()
    expected = [whole.update(student) for _ in range(3)]
    for one, other in zip(_tensors(aliased), _tensors(state), strict=True):
        assert torch.equal(one, other)  # a checkpoint that is being written must not change
    resumed = build(method, teacher, seed=99)
    resumed.load_state_dict(state)
    assert [resumed.update(student) for _ in range(3)] == expected
    assert same(whole.sample(9), resumed.sample(9))
    assert whole.images_made == resumed.images_made
    assert whole.teacher_images == resumed.teacher_images


def _tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, Mapping):
        state = state.values()
    if isinstance(state, str | bytes) or not hasattr(state, "__iter__"):
        return []
    return [tensor for part in state for tensor in _tensors(part)]


@pytest.mark.parametrize("method", [name for name, row in ROWS.items() if row.falls])
def test_it_gets_better_at_what_it_does(method):
    row, student, name = ROWS[method], make_student(), f"{ROWS[method].falls}"
    if row.restarts:
        steps = ({METHODS[method].passes: count} for count in (1, 60))
        synthesizers = [build(method, teacher_for(method), **row.still, **inner) for inner in steps]
        first, last = (float(each.update(student)[name]) for each in synthesizers)
    else:
        synthesizer = build(method, teacher_for(method), **row.still)
        values = [float(synthesizer.update(student)[name]) for _ in range(60)]
        first, last = sum(values[:5]) / 5, sum(values[-5:]) / 5
    assert last < first


@pytest.mark.parametrize("method", ROWS)
def test_bfloat16_leaves_losses_in_float32(method):
    synthesizer = build(
        method, teacher_for(method), autocast=lambda: torch.autocast("cpu", torch.bfloat16)
    )
    metrics = synthesizer.update(make_student())
    assert all(value.isfinite() and value.dtype == torch.float32 for value in metrics.values())
    assert synthesizer.sample(4).inputs.dtype == torch.float32


@pytest.mark.parametrize(("classes", "side", "channels"), [(2, 28, 1), (1000, 33, 3)])
@pytest.mark.parametrize("method", ROWS)
def test_any_number_of_classes_and_any_size(method, classes, side, channels):
    teacher = teacher_for(method, channels, classes, side)
    student = make_student(channels, classes)
    synthesizer = build(method, teacher)
    synthesizer.update(student)
    assert synthesizer.sample(4).inputs.shape == (4, channels, side, side)


@pytest.mark.parametrize("shape", [(1, 20, 44), (2, 7, 31)])
@pytest.mark.parametrize("method", ORDINARY)
def test_images_need_not_be_square(method, shape):
    channels = shape[0]
    square, student = make_teacher(channels), make_student(channels)
    spec = ImageSpec(*shape, (0.5,) * channels, (0.25,) * channels)
    synthesizer = build(method, Teacher(square.network, spec))
    metrics = synthesizer.update(student)
    assert all(value.isfinite() for value in metrics.values())
    inputs = synthesizer.sample(4).inputs
    assert inputs.shape == (4, *shape)
    assert inputs.isfinite().all()
    assert inputs[..., -1].std() > 0  # drawn to its edges
    assert inputs[..., -1, :].std() > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ROWS)
def test_images_of_224_pixels(method):
    synthesizer = build(method, teacher_for(method, 3, 10, 224))
    synthesizer.update(make_student(3, 10))
    assert synthesizer.sample(2).inputs.shape == (2, 3, 224, 224)


@pytest.mark.parametrize("method", ROWS)
def test_any_module_may_watch(method):
    synthesizer, student = build(method, teacher_for(method)), Odd()
    metrics = synthesizer.update(student)
    assert all(value.isfinite() for value in metrics.values())
    assert student.w.grad is None


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.statistics])
def test_a_teacher_without_statistics_is_refused(method):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(DfkdError, match="stores none"):
        build(method, Teacher(network, ImageSpec(1, 8, 8)))


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.passes])
def test_an_inner_loop_of_zero_is_refused_or_means_something(method):
    name = METHODS[method].passes
    if method == "redraw":  # drawings alone
        assert build(method, make_teacher(), **{name: 0}).update(make_student()) == {}
        return
    with pytest.raises(DfkdError):
        small(method, **{name: 0})


ON_META = [
    *((method, "muon") for method in ROWS if not METHODS[method].patches),
    *(("dafl", "adamw"), ("dafl", "sgd")),
]
"""A student's optimiser does not know whose images it learns from; which patches a transformer has
is asked of its values."""


@pytest.mark.parametrize(("method", "optimizer"), ON_META)
def test_steps_stay_on_their_device_and_read_nothing_back(method, optimizer):
    """On meta, which has shapes and no values, ``.item()``, ``bool(tensor)`` and ``nonzero`` fail:
    they would make a GPU wait. So does a tensor on another device than its neighbours.
    """
    spec = ImageSpec(1, 16, 16, (0.3,), (0.4,))
    teacher = Teacher(resnet(14, 1, 10).to("meta"), spec)
    student = resnet(8, 1, 10).to("meta")
    student.layer1.requires_grad_(False)
    recipe = small(method)
    if method == "redraw":  # a run has asked for the style before its first step
        recipe = recipe.with_(synthesizer={"style": "strokes on black"})
    config = dataclasses.replace(recipe.learner, optimizer=optimizer)
    distiller = build_distiller(teacher, student, config, 0)
    synthesizer = recipes.build_synthesizer(recipe, teacher)
    for step in range(4):
        metrics = dict(synthesizer.update(student))
        batch = synthesizer.sample(8)
        distiller.set_progress(step / 4)
        metrics |= distiller.update(batch)
        assert all(value.device.type == "meta" for value in metrics.values())
    assert batch.inputs.device.type == "meta"
