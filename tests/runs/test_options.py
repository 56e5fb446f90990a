"""Groups of options say what is wrong with them, and calls of 0.1 keep working for a version."""

import copy
import json
import warnings
from dataclasses import fields, replace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import dfkd
from dfkd.datasets import GivenImages, LabelledImages
from dfkd.runs.deprecated import COMPUTE, OUTPUT
from dfkd.runs.distillation import distill
from dfkd.runs.inversion import invert
from dfkd.runs.options import Compute, Evaluation, Output
from support.inversion import CONFIG, teacher
from support.methods import small
from support.runs import same

REFUSED = {
    "device": (Compute, {"device": "gpu"}, "`device` must be auto, cpu, cuda or mps, not 'gpu'"),
    "precision": (Compute, {"precision": "fp16"}, "`precision` must be auto, bf16 or fp32"),
    "compile": (Compute, {"compile": "yes"}, "`compile` must be auto, on or off"),
    "devices": (Compute, {"devices": 0}, "`devices` must be in"),
    "batch": (Compute, {"batch_size": 0}, "`batch_size` must be auto or a positive number"),
    "words": (Compute, {"batch_size": "many"}, "`batch_size` must be auto or a positive number"),
    "nowhere": (Output, {"resume": True}, "`resume` continues the run in `output"),
    "both": (Output, {"directory": "x", "resume": True, "overwrite": True}, "give one of them"),
    "never": (Output, {"checkpoint_every": 0}, "`checkpoint_every` must be in"),
    "nan": (Output, {"checkpoint_every": float("nan")}, "`checkpoint_every` must be in"),
    "points": (Evaluation, {"data": None, "curve": -1}, "`curve` must be in"),
    "attack": (Evaluation, {"data": None, "epsilon": 8}, "`epsilon` must be in"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_group_validates_itself(case):
    kind, values, words = REFUSED[case]
    with pytest.raises(dfkd.DfkdError) as refusal:
        kind(**values)
    assert words in str(refusal.value)


@pytest.fixture
def data():
    torch.manual_seed(0)
    return torch.rand(40, 1, 8, 8), torch.arange(40) % 4


def quick(teacher, student, recipe="drawings", **options):
    return distill(teacher, copy.deepcopy(student), recipe, steps=2, **options)


def test_every_form_of_the_evaluation_gives_the_same_figures(tiny_teacher, tiny_student, data):
    images, labels = data
    images = (images * 255).round() / 255
    pixels = (images * 255).to(torch.uint8)
    forms = [
        LabelledImages(pixels, labels, "given"),
        (pixels, labels),
        (images, labels),
        TensorDataset(images, labels),
        DataLoader(TensorDataset(images, labels), batch_size=7),
        Evaluation((images, labels), curve=2),
    ]
    found = [quick(tiny_teacher, tiny_student, evaluation=form).metrics for form in forms]
    assert len({one.student_accuracy for one in found}) == 1
    assert len({one.teacher_accuracy for one in found}) == 1
    assert [len(one.curve) for one in found] == [0, 0, 0, 0, 0, 2]
    assert found[-1].curve[-1]["accuracy"] == found[-1].student_accuracy


def test_images_to_learn_from_come_in_any_form(tiny_teacher, tiny_student, data):
    images = (data[0] * 255).to(torch.uint8)
    recipe = dfkd.recipe("redraw", alternation={"batch_size": 16})
    found = [
        quick(tiny_teacher, tiny_student, recipe, images=form).student.state_dict()
        for form in (images, GivenImages(images, None, "images"))
    ]
    assert same(*found)
    with pytest.raises(dfkd.DfkdError, match="images stand in for a method's: leave recipe out"):
        quick(tiny_teacher, tiny_student, "nayer", images=images)


def test_a_result_has_what_its_file_has(tiny_teacher, tiny_student, data, tmp_path):
    result = quick(tiny_teacher, tiny_student, evaluation=data, output=tmp_path / "run")
    saved = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result.metrics.as_dict() == saved
    assert result.directory == tmp_path / "run"
    assert (result.interrupted, result.failure) == (False, saved["failure"])
    assert "agreement_of_others" not in saved
    assert {"teacher_accuracy", "comparison"} <= set(saved)
    bare = quick(tiny_teacher, tiny_student)
    low, high = bare.validation.interval
    assert 0 <= low <= bare.validation.agreement == bare.metrics.agreement <= high <= 1
    assert bare.validation.start.agreement == bare.metrics.held_out.start.agreement
    assert bare.metrics.as_dict()["agreement_of_others"] == {}
    assert not {"comparison", "robust_accuracy", "exits"} & set(bare.metrics.as_dict())


def test_calls_of_0_1_work_and_warn(tiny_teacher, tiny_student, data, tmp_path):
    heard = []
    labelled = LabelledImages((data[0] * 255).to(torch.uint8), data[1], "given")
    with pytest.warns(DeprecationWarning, match="method, seed, init, out, device") as caught:
        old = distill(
            tiny_teacher, copy.deepcopy(tiny_student), method="drawings", seed=3, steps=2,
            init="random", out=tmp_path / "old", device="cpu", precision="fp32", compile="off",
            batch_size="8", curve=2, epsilon=0.1, overwrite=False, checkpoint_every=9.0,
            evaluation=labelled, begun=heard.append, show=lambda *told: heard.append(told),
        )  # fmt: skip
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        new = quick(
            tiny_teacher,
            tiny_student,
            replace(dfkd.recipe("drawings"), seed=3, init="random"),
            evaluation=Evaluation(labelled, curve=2, epsilon=0.1),
            compute=Compute(device="cpu", precision="fp32", compile="off", batch_size=8),
            output=Output(tmp_path / "new", checkpoint_every=9.0),
        )
    assert same(old.student.state_dict(), new.student.state_dict())
    assert old.metrics.robust_accuracy == new.metrics.robust_accuracy
    assert heard[0]["init"] == new.metrics.init
    assert heard[-1][:2] == (1.0, 2)
    with pytest.warns(DeprecationWarning, match="use result.metrics"):
        assert old.figures == old.metrics.as_dict()
    with pytest.warns(DeprecationWarning, match="use result.directory"):
        assert old.out == tmp_path / "old"


IGNORED = {
    "seed": ({"recipe": True, "seed": 5}, "seed is a part of recipe"),
    "method": ({"recipe": True, "method": "nayer"}, "method is a part of recipe"),
    "two names": ({"recipe": "fast", "method": "nayer"}, "method is a part of recipe"),
    "device": ({"compute": Compute(), "device": "cpu"}, "device is a part of compute"),
    "resume": ({"output": "run", "resume": True}, "resume is a part of output"),
    "curve": ({"curve": 3}, "curve is measured on real images: give evaluation"),
    "both curves": ({"evaluation": Evaluation(None), "curve": 3}, "curve is a part of evaluation"),
}


@pytest.mark.parametrize("case", IGNORED)
def test_what_would_be_ignored_is_refused(case, tiny_teacher, tiny_student):
    options, words = IGNORED[case]
    if options.get("recipe") is True:
        options = options | {"recipe": small("redraw")}
    with pytest.raises(dfkd.DfkdError, match=words):
        quick(tiny_teacher, tiny_student, **options)


def test_a_keyword_of_no_version_is_python_s_own_error(tiny_teacher, tiny_student):
    with pytest.raises(TypeError, match="unexpected keyword argument 'minuts'"):
        quick(tiny_teacher, tiny_student, minuts=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stop'"):
        invert(teacher(), [0], 1, stop=None)


def test_the_shim_knows_every_field_of_the_groups():
    assert {field.name for field in fields(Compute)} == set(COMPUTE)
    assert {field.name for field in fields(Output)} == set(OUTPUT.values())


def test_pictures_may_be_used_as_the_tensor_that_they_were(tiny_teacher):
    result = invert(teacher(), [0, 1], 4, steps=2, config=CONFIG)
    assert len(result) == 4
    assert torch.equal(result[1], result.images[1])
    assert len([*result]) == 4
    with pytest.warns(DeprecationWarning, match=r"use its images.shape"):
        assert result.shape == result.images.shape
    with pytest.warns(DeprecationWarning, match="use its images"):
        assert torch.equal(result, result.images)
    with pytest.raises(dfkd.DfkdError, match="in one process: leave `devices` out"):
        invert(teacher(), [0], 1, compute=Compute(devices=2))


@pytest.mark.parametrize("kind", ["images", "unlabelled"])
@pytest.mark.parametrize("form", [GivenImages, LabelledImages, torch.Tensor])
def test_given_images_of_another_size_are_one_line(tiny_teacher, tiny_student, kind, form):
    pixels = torch.zeros(5, 1, 9, 9, dtype=torch.uint8)
    images = pixels if form is torch.Tensor else form(pixels, torch.zeros(5).long(), "mine")
    known = Evaluation(unlabelled=images)
    options = {"images": images} if kind == "images" else {"evaluation": known}
    recipe = "default" if kind == "images" else "drawings"
    with pytest.raises(dfkd.DfkdError, match="holds 5x1x9x9 images and the model takes N x 1x8x8"):
        quick(tiny_teacher, tiny_student, recipe, **options)
