"""The copies that runs work with change what a run costs, and nothing that it makes."""

import pytest
import torch

from dfkd.errors import DfkdError
from dfkd.recipes import batches
from dfkd.recipes.methods import METHODS as CATALOGUE
from dfkd.runs.inversion import invert
from dfkd.runs.options import Compute, batch_size_of
from support.inversion import CONFIG, teacher
from support.methods import ORDINARY, small
from support.runs import run


@pytest.mark.parametrize("method", ORDINARY)
def test_a_recomputing_teacher_gives_the_same_student(method, tiny_teacher, tiny_student):
    plain = run(tiny_teacher, tiny_student, method)
    thrifty = run(tiny_teacher, tiny_student, method, recompute=True)
    assert "recomputed" in thrifty.figures["compiled"]["reason"]
    for ours, theirs in zip(
        plain.student.state_dict().values(), thrifty.student.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ORDINARY)
def test_a_batch_size_holds_for_both_kinds_of_step(method):
    plan = batches.with_batch_size(small(method), 8)
    assert batches.largest_batch(plan) == 8
    assert plan.alternation.batch_size == 8
    tiny = batches.with_batch_size(small(method), 1)
    assert tiny.alternation.batch_size == 1
    assert all(shape[0] == 2 for shape in batches.traced(tiny, teacher().spec)[0])


def test_every_method_that_optimises_images_has_a_batch_field():
    assert {name for name, row in CATALOGUE.items() if not row.batch} == {"drawings"}


def test_auto_leaves_what_fits(tiny_teacher, tiny_student):
    result = run(tiny_teacher, tiny_student, "redraw", batch_size="auto")
    assert result.figures["student_steps"] == 8


def test_invert_takes_its_batch_and_recomputes():
    whole = invert(teacher(), [1, 2], 4, config=CONFIG, compute=Compute(compile="off"))
    thrifty = Compute(batch_size=2, recompute=True)
    halves = invert(teacher(), [1, 2], 4, config=CONFIG, compute=thrifty)
    assert halves.metrics.steps == 2 * whole.metrics.steps
    assert halves.images.shape == whole.images.shape


@pytest.mark.parametrize("words", ["0", "-3", "many", "2.5", ""])
def test_other_batch_sizes_are_refused(words):
    with pytest.raises(DfkdError, match="`batch_size` must be auto or a positive number"):
        batch_size_of(words)


def test_a_resumed_run_keeps_its_batch_size(tiny_teacher, tiny_student, tmp_path):
    options = {"batch_size": "8", "out": tmp_path / "run"}
    run(tiny_teacher, tiny_student, "redraw", steps=4, **options)
    again = run(
        tiny_teacher, tiny_student, "redraw", **(options | {"batch_size": "auto"}), resume=True
    )
    assert sum(again.figures["class_counts"]) == 8 * 8
