"""Whether mirror images are used: what the teacher answers decides, and what was set by hand."""

import dataclasses

import pytest
import torch
from torch import nn

import dfkd
from dfkd.evaluation.heldout import HeldOut
from dfkd.evaluation.holding_out import Effort, hold_out
from dfkd.loading import load_teacher
from dfkd.recipes import override, recipe
from dfkd.runs import mirror
from dfkd.runs.distillation import distill
from dfkd.runs.inversion import invert
from dfkd.runs.mirror import Mirror
from dfkd.synthesis.methods.deep_inversion_config import small
from dfkd.teacher.spec import quantize
from dfkd.training.augment import FLIP

SPEC = dfkd.ImageSpec(1, 8, 8)


class Sides(nn.Module):
    """Two classes: light on the left or on the right; with ``even``, much or little of it."""

    def __init__(self, even: bool):
        super().__init__()
        self.even = even
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        left, right = x[..., :4].mean((1, 2, 3)), x[..., 4:].mean((1, 2, 3))
        shown = left + right - 1 if self.even else left - right
        return self.scale * torch.stack([shown, -shown], 1)


def asked(teacher, corrected=64):
    torch.manual_seed(0)
    images = quantize(torch.rand(64, 1, 8, 8).cumsum(-1) / 8)
    logits = teacher(images.float() / 255)
    counts = {"corrected": corrected, "drawn": 64 - corrected}
    return mirror.try_mirroring(teacher, HeldOut(images, logits, counts))


def test_the_teacher_tells_sides_apart_or_does_not():
    sides, light = (dfkd.Teacher(Sides(even), SPEC) for even in (False, True))
    assert asked(light).keeps
    assert asked(light).mirrored == 1.0
    assert not asked(sides).keeps
    assert asked(sides).moved > 0.9


@pytest.mark.parametrize(
    ("mirrored", "moved", "keeps"),
    [(0.9, 1.0, True), (0.7, 1.0, False), (0.75, 0.9, True), (0.6, 0.62, False), (1, 0.5, False)],
)
def test_what_a_pixel_changes_counts(mirrored, moved, keeps):
    """Where a class does not survive a pixel nothing can be said of mirror images."""
    assert Mirror(mirrored, moved, 100, "corrected").keeps is keeps
    assert Mirror(mirrored, moved, 100, "unlabelled").keeps is keeps


def test_drawings_are_nobodys_data_and_tell_nothing():
    """Digits of a network without norms: .77 of the drawings stay, .80 moved by a pixel."""
    answer = asked(dfkd.Teacher(Sides(True), SPEC), corrected=0)
    assert answer.mirrored == 1.0
    assert not answer.keeps
    assert "drawings" in answer.summary()


def test_only_corrected_images_are_asked_about_where_there_are_some():
    assert asked(dfkd.Teacher(Sides(True), SPEC), corrected=16).images == 16
    assert asked(dfkd.Teacher(Sides(True), SPEC), corrected=0).images == 64


@pytest.mark.parametrize(
    ("name", "keeps"), [("fashion_resnet20", True), ("digits_vgg", False), ("vowels_vgg", True)]
)
def test_bundled_teachers_answer_as_of_their_real_images(name, keeps):
    """Real test images that keep their class when mirrored: .975, .316 and .973."""
    teacher = load_teacher(f"bundled:{name}")
    assert mirror.try_mirroring(teacher, hold_out(teacher, Effort(256, 64, 20))).keeps is keeps


def test_what_is_set_is_not_asked():
    assert mirror.is_open(recipe("default"))
    assert not mirror.is_open(override(recipe("default"), ["learner.flip=0.3"]))
    plan = override(recipe("default"), ["learner.flip=0.3"])
    assert mirror.apply(plan, keeps=False) == plan
    assert mirror.apply(recipe("default"), keeps=True).learner.flip == FLIP
    assert mirror.apply(recipe("default"), keeps=False).learner.flip == 0


def test_the_pixels_of_an_inversion_follow_the_same_answer():
    plan = recipe("deep_inversion_imagenet_1")
    assert mirror.apply(plan, keeps=True).synthesizer.flip == FLIP
    assert mirror.apply(plan, keeps=False).synthesizer.flip == 0
    fixed = dataclasses.replace(plan, synthesizer=dataclasses.replace(plan.synthesizer, flip=0.2))
    assert mirror.apply(fixed, keeps=False).synthesizer.flip == 0.2


def test_a_run_says_what_it_decided(tmp_path, tiny_teacher, tiny_student):
    import json

    heard = []
    result = distill(
        tiny_teacher, tiny_student, steps=2, out=tmp_path / "run", begun=heard.append,
        recipe=override(recipe("default"), ["synthesizer.draws=32", "synthesizer.refine_batch=8"]),
    )  # fmt: skip
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    said = manifest["mirror"]
    flip = FLIP if Mirror(**said).keeps else 0.0
    assert manifest["recipe"]["learner"]["flip"] == flip
    (line,) = [line for line in manifest["decisions"] if "mirror" in line]
    assert line == Mirror(**said).summary()
    assert line in heard[0]["decisions"]
    assert line in result.figures["decisions"]
    assert "mirror images" in (tmp_path / "run" / "report.html").read_text()


def test_inversion_asks_as_well(tiny_teacher):
    """Unless it is set, or somebody else has asked."""
    setting = small()
    asked = invert(tiny_teacher, [0], 2, steps=1, config=setting)
    answer = Mirror(**asked.metrics.mirror)
    assert asked.config.flip == (FLIP if answer.keeps else 0.0)
    assert asked.metrics.decisions == [answer.summary()]
    fixed = invert(tiny_teacher, [0], 2, steps=1, config=dataclasses.replace(setting, flip=0.3))
    with pytest.warns(DeprecationWarning, match="mirrored"):
        told = invert(tiny_teacher, [0], 2, steps=1, config=setting, mirrored=True)
    assert (fixed.config.flip, told.config.flip) == (0.3, FLIP)
    assert fixed.metrics.mirror is told.metrics.mirror is None
