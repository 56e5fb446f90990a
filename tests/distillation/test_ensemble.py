"""Several teachers as one: how answers merge, who goes together, and whole runs with them."""

import dataclasses
import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import dfkd
from dfkd import cli, recipes
from dfkd.cli.arguments import ImageOptions
from dfkd.cli.common import teachers_of
from dfkd.cli.distill import FAILED
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.merging import (
    by_confidence,
    concat_logits,
    ood_score,
    record_input_means,
    weighted,
)
from dfkd.errors import DfkdError
from dfkd.loading import save_artefact
from dfkd.networks import initialise, resnet, vgg
from dfkd.protocols import Batch
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import build_distiller
from dfkd.teacher import Teacher
from dfkd.teacher.folding import FoldedNorm, fold
from dfkd.teacher.recompute import recomputing
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.statistics import VARIANCE_EPS, statistics_layers
from dfkd.training.budget import Alternation
from support.commands import dfkd as command
from support.schemes import check_resume

close = torch.testing.assert_close
SPEC, OTHER_SPEC = ImageSpec(1, 8, 8, (0.4,), (0.3,)), ImageSpec(1, 8, 8, (0.2,), (0.7,))


def make(names="abcd", seed=0, spec=SPEC, widths=(8, 16)):
    """A VGG whose norms are in no way trivial: none of them may be mistaken for the identity."""
    torch.manual_seed(seed)
    network = vgg(widths, 1, 1, len(names))
    for norm in statistics_layers(network).values():
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    for _ in range(20):
        network(torch.rand(32, 1, 8, 8))
    network.head.weight.data *= 5
    return Teacher(network, spec, names)


def images(count=6):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def strange_to(teacher, x):
    with record_input_means(teacher.layers.values()) as means:
        teacher(x)
    return ood_score(means)


def test_the_mean_and_its_weights():
    one, other = torch.tensor([[4.0, 0.0], [1.0, 2.0]]), torch.tensor([[0.0, 2.0], [3.0, -2.0]])
    assert weighted([one, other]).tolist() == [[2.0, 1.0], [2.0, 0.0]]
    assert weighted([one, other], (3.0, 1.0)).tolist() == [[3.0, 0.5], [1.5, 1.0]]
    close(weighted([one, other], (0.6, 0.2)), weighted([one, other], (3, 1)))


def test_confidence_is_one_over_the_classes_that_a_teacher_hesitates_between():
    sure, torn = torch.tensor([[50.0, 0.0, 0.0]]), torch.tensor([[30.0, 90.0, 90.0]])
    # exp(-entropy) is 1 and 1/2: of the sum two thirds and one third.
    expected = torch.tensor([[(2 * 50 + 30) / 3, 30.0, 30.0]])
    images = [torch.cat([sure, torn]), torch.cat([torn, torn])]
    close(by_confidence(images), torch.cat([expected, torn]))


def test_side_by_side_every_part_is_centred_and_the_stranger_one_shrinks():
    parts = [torch.tensor([[3.0, 1.0]]), torch.tensor([[6.0, 9.0, 9.0]])]
    assert concat_logits(parts).tolist() == [[1.0, -1.0, -2.0, 1.0, 1.0]]
    close(concat_logits(parts, [torch.ones(1, 1), torch.ones(1, 1)]), concat_logits(parts))
    # 4 and 1 deviations away: their geometric mean is 2, so that the first counts 1/2, the other 2.
    logs = [torch.tensor([[math.log(4.0)]]), torch.tensor([[0.0]])]
    close(concat_logits(parts, logs), torch.tensor([[0.5, -0.5, -4.0, 2.0, 2.0]]))


def test_strangeness_by_hand():
    # Deviations 2, 4: mean square 10; then 3, 3: mean square 9. The second image: 0, 0; then 1, 1.
    first, second = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    first.running_mean, first.running_var = torch.tensor([1.0, -1.0]), torch.tensor([4.0, 0.25])
    means = [(first, torch.tensor([[5.0, -3.0], [1.0, -1.0]]))]
    means += [(second, torch.tensor([[3.0, -3.0], [1.0, 1.0]]))]
    expected = [[(math.log(10) + math.log(9)) / 4], [math.log(VARIANCE_EPS) / 4]]
    close(ood_score(means), torch.tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (3, 2, 7), (3, 2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_means_are_those_of_each_image_and_channel(shape, dtype):
    x, layer = torch.randn(shape, dtype=torch.float64).to(dtype), nn.Identity()
    with record_input_means([layer]) as means:
        layer(x)
    layer(x)  # the block is over: nothing is noted any more
    ((_, mean),) = means
    wide = x.to(torch.promote_types(dtype, torch.float32))
    close(mean, wide if x.ndim == 2 else wide.flatten(2).mean(2))


def test_folded_norms_are_as_strange_as_whole_ones():
    whole = strange_to(make(), images())
    assert whole.std() > 0.01
    close(strange_to(fold(make()).teacher, images()), whole, rtol=1e-4, atol=1e-4)


def test_it_answers_the_mean_and_each_has_its_own_normalisation():
    one, other = make(), make(seed=1, spec=OTHER_SPEC, widths=(6, 10, 12))
    x, both = images(), dfkd.ensemble([one, other])
    assert (*both.spec.mean, *both.spec.std) == pytest.approx((0.3, 0.5))
    close(both(x), (one(x) + other(x)) / 2)
    by_weight = dfkd.ensemble([one, other], "weighted", [3, 1])(x)
    close(by_weight, 0.75 * one(x) + 0.25 * other(x))
    close(dfkd.ensemble([one, other], "confidence")(x), by_confidence([one(x), other(x)]))
    assert dfkd.ensemble([one, make(seed=1)]).spec == SPEC


def test_classes_stand_side_by_side():
    one, other = make("abc"), make("de", seed=1, spec=OTHER_SPEC)
    both = dfkd.ensemble([one, other], "classes")
    assert both.class_names == tuple("abcde")
    assert list(both.layers) == [f"members.{i}.{n}" for i in (0, 1) for n in one.layers]
    x = images()
    close(both(x), concat_logits([one(x), other(x)], [strange_to(t, x) for t in (one, other)]))
    # Who stores no statistics, or never asks its norms, cannot be compared, nor can others with it.
    idle = nn.Linear(64, 2)
    for idle.unused in (None, nn.BatchNorm1d(4)):
        silent = Teacher(nn.Sequential(nn.Flatten(), idle), SPEC, "fg")
        found = dfkd.ensemble([one, silent], "classes")(x)
        close(found, concat_logits([one(x), silent(x)]))


WRONG = {
    ("abcd", ()): "more than one",
    ("abcd abc", ()): "4 and 3 classes",
    (
        "abcd abcx",
        (),
    ): "class 'd' of teacher 1 is none of teacher 2, which has 'x'.*combine=classes",
    ("abcd 0123 abdc", ()): "teacher 2 names no classes.*which is right.*`class_names=FILE`",
    ("ab ab", ("weighted", (1, 2, 3))): "3 weights for 2",
    ("ab ab", ("weighted",)): "belong together",
    ("ab ab", ("weighted", (1, math.nan))): "positive and finite",
    ("ab ab", ("confidance",)): "did you mean 'confidence'",
    ("ab cdb", ("classes",)): "two teachers know the class 'b'",
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_what_does_not_go_together_is_refused(case):
    with pytest.raises(DfkdError, match=WRONG[case]):
        dfkd.ensemble([make(names) for names in case[0].split()], *case[1])


def test_what_its_members_are_compared_with_is_kept_or_refused():
    def remembering(prior, names="abcd"):
        return Teacher(make(names).restore(), SPEC, names, prior=prior)

    x = torch.rand(4, 1, 8, 8)
    assert dfkd.ensemble([make(), make(seed=1)]).trace(x, statistics=True).statistics
    nothing = dfkd.ensemble([remembering("nothing"), remembering("nothing")])
    assert not nothing.remembers
    normless = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), SPEC, "abcd")
    assert not dfkd.ensemble([remembering("nothing"), normless]).remembers
    with pytest.raises(DfkdError, match="to all of its teachers, or to none"):
        dfkd.ensemble([remembering("nothing"), make()])
    with pytest.raises(DfkdError, match="`prior=norm_shift` is of one bare teacher"):
        dfkd.ensemble([make(), remembering("norm_shift")])


def test_one_shape_and_the_names_that_somebody_knows():
    with pytest.raises(DfkdError, match="1x8x8 and 1x8x16"):
        dfkd.ensemble([make(), Teacher(vgg((4,), 1, 1, 4), ImageSpec(1, 8, 16), "abcd")])
    assert dfkd.ensemble([make("0123"), make(seed=1)]).class_names == tuple("abcd")


@pytest.mark.parametrize("combine", ["mean", "classes"])
def test_the_copies_that_runs_work_with_answer_alike(combine):
    both = dfkd.ensemble([make(), make("efgh" if combine == "classes" else "abcd", 1)], combine)
    folded, found = fold(both).teacher, []
    assert all(isinstance(layer, FoldedNorm) for layer in folded.layers.values())
    for each in (both, folded, recomputing(folded)):
        x = images().requires_grad_()
        trace = each.trace(x, statistics=True)
        logits, statistics = trace.logits, trace.statistics
        assert [record.name for record in statistics] == list(both.layers)
        (logits.square().sum() + sum(s.mean.sum() + s.var.sum() for s in statistics)).backward()
        found.append((logits.detach(), x.grad))
    for logits, gradient in found[1:]:
        close(logits, found[0][0], rtol=1e-4, atol=1e-4)
        close(gradient, found[0][1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("combine", ["mean", "weighted", "confidence", "classes"])
def test_steps_stay_on_their_device_and_read_nothing_back(combine):
    names, weights = ("cd", "ab")[combine != "classes"], (1, 2) if combine == "weighted" else ()
    networks = [resnet(8, 1, 2).to("meta") for _ in range(2)]
    other = Teacher(networks[1], ImageSpec(1, 8, 8, (0.5,)), names)
    both = dfkd.ensemble([Teacher(networks[0], SPEC, "ab"), other], combine, weights)
    student = resnet(8, 1, both.num_classes).to("meta")
    distiller = build_distiller(both, student, LearnerConfig(), 0, "ensemble")
    metrics = distiller.update(Batch(torch.empty(4, 1, 8, 8, device="meta")))
    assert all(value.device.type == "meta" for value in metrics.values())


@pytest.mark.parametrize("combine", ["mean", "classes"])
def test_no_teacher_is_looked_into_for_all_of_them(combine):
    both = dfkd.ensemble([make("ab"), make(("ab", "cd")[combine == "classes"], 1)], combine)
    student = vgg((6, 10), 1, 1, both.num_classes)
    for name in ("at", "hint", "fsp", "sp", "grad_cam", "cam", "rkd", "cc", "crd"):
        config = LearnerConfig(knowledge=f"kd + {name}")
        with pytest.raises(DfkdError, match=r"several teachers.*`knowledge=kd`") as refusal:
            build_distiller(both, student, config, 0, "ensemble")
        assert "\n" not in str(refusal.value)
    for name in ("dafl", "pre"):
        with pytest.raises(DfkdError, match=r"several teachers.*`method=default`"):
            METHODS[name].build(both, METHODS[name].config(), 0)


def test_layers_of_one_teacher_are_compared_where_they_are_named():
    both = dfkd.ensemble([make(), make(seed=1)])
    pairs = tuple(f"teacher.members.{i}.stages.1=student.stages.1" for i in (0, 1))
    config = LearnerConfig(knowledge="kd + hint", pairs=pairs)
    distiller = build_distiller(both, vgg((6, 10), 1, 1, 4), config, 0, "ensemble")
    assert distiller.pairs == pairs
    assert distiller.update(Batch(images()))["hint"] > 0


SMALL = {
    "drawings": {},
    "redraw": {"draws": 16, "refine_batch": 8, "refine_steps": 2},
    "nayer": {"ngf": 4, "latent_dim": 8, "synthesis_batch_size": 8, "g_steps": 2},
}


def small_run(both, method, **options):
    plan = recipes.with_scheme(recipes.recipe(method), "ensemble")
    plan = recipes.override(plan, ["scheme_config.combine=classes"])
    alternation = Alternation(warmup_updates=1, steps_per_update=2, batch_size=16)
    synthesizer = dataclasses.replace(plan.synthesizer, **SMALL[method])
    plan = dataclasses.replace(plan, synthesizer=synthesizer, alternation=alternation)
    student = initialise(vgg((6, 10), 1, 1, both.num_classes), 1)
    return dfkd.distill(both, student, recipe=plan, device="cpu", precision="fp32", **options)


@pytest.mark.parametrize("method", SMALL)
def test_members_stay_as_they_are(method):
    members = [make("abc"), make("de", 1, OTHER_SPEC)]
    before = [member.fingerprint() for member in members]
    both = dfkd.ensemble(members, "classes")
    result = small_run(both, method, steps=4)
    assert [member.fingerprint() for member in members] == before
    assert result.student(both.spec.normalize(images())).shape == (6, 5)


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    both = dfkd.ensemble([make("abc"), make("de", 1, OTHER_SPEC)], "classes")
    check_resume(partial(small_run, both, "redraw", steps=8), tmp_path / "run", monkeypatch)


def test_on_the_command_line(tmp_path):
    uris = []
    for names, spec in (("abc", SPEC), ("de", OTHER_SPEC)):
        build = {"widths": [8, 16], "convolutions": 1, "in_channels": 1, "num_classes": len(names)}
        path, member = tmp_path / names / "student.safetensors", make(names, len(uris), spec)
        path.parent.mkdir()
        save_artefact(path, member.network, "dfkd.networks:vgg", build, spec, names)
        uris.append(f"run:{path.parent}")
    tested = (images(20) * 255).byte().squeeze(1).numpy()
    np.savez(tmp_path / "test.npz", images=tested, labels=np.arange(20) % 5)
    data, out = f"npz:{tmp_path / 'test.npz'}", tmp_path / "merged"
    student = "dfkd.networks:vgg?widths=(6,10)&convolutions=1"
    merge = ("--scheme", "ensemble", "--set", "scheme_config.combine=classes", "--teachers")
    quick = ("--set", "alternation.warmup_updates=1", "--set", "synthesizer.draws=16")
    words = ("distill", uris[0], student, *merge, uris[1], "--eval", data, "--steps", 3)
    done = command(*words, *quick, "--out", out)
    assert done.returncode in (0, FAILED), done.stderr  # three steps may have taught nothing
    manifest = json.loads((out / "manifest.json").read_text())
    assert [manifest["teacher"], *manifest["further_teachers"]] == uris
    assert dfkd.load_teacher(f"run:{out}").class_names == tuple("abcde")
    measured = command("evaluate", f"run:{out}", "--data", data)
    assert measured.returncode == 0, measured.stderr
    figures = json.loads((out / "result.json").read_text())
    assert f"{100 * figures['student_accuracy']:.1f}" in measured.stdout
    again = command("distill", uris[0], student, *merge, uris[0], "--out", tmp_path / "no")
    assert again.returncode == 2
    assert "two teachers know the class 'a'" in again.stderr


PLAIN = "dfkd.networks:vgg?widths=(4,)&convolutions=1&in_channels=1&num_classes=2"
FACTS = ImageOptions(image="1x8x8", mean=(0.1,), std=(0.2,))


def test_facts_of_images_are_the_first_teachers_and_fill_what_another_lacks():
    carried = dfkd.load_teacher("bundled:digits_vgg").spec
    first, knowing, silent = teachers_of([PLAIN, "bundled:digits_vgg", PLAIN], FACTS)
    assert first.spec == silent.spec == ImageSpec(1, 8, 8, (0.1,), (0.2,))
    assert knowing.spec == carried
    assert teachers_of(["bundled:digits_vgg"], FACTS)[0].spec == first.spec


def test_classes_are_named_for_each_teacher_on_its_own(tmp_path):
    files = tuple(tmp_path / name for name in ("ab", "cd", "ef"))
    for path in files:
        path.write_text("\n".join(path.name))
    facts = dataclasses.replace(FACTS, class_names=files[:2])
    members = teachers_of([PLAIN, PLAIN], facts)
    assert dfkd.ensemble(members, "classes").class_names == tuple("abcd")
    one = dataclasses.replace(FACTS, class_names=files[:1])
    assert [t.class_names for t in teachers_of([PLAIN, PLAIN], one)] == [("a", "b"), ("0", "1")]
    with pytest.raises(DfkdError, match="one file a model: 3 for 2"):
        teachers_of([PLAIN, PLAIN], dataclasses.replace(FACTS, class_names=files))
    with pytest.raises(DfkdError, match="`class_names=FILE` once for each teacher"):
        dfkd.ensemble(teachers_of([PLAIN, PLAIN], FACTS), "classes")


def test_two_numbered_teachers_of_their_own_classes_on_the_command_line(tmp_path):
    named = []
    for names in ("ab", "cd"):
        (tmp_path / names).write_text("\n".join(names))
        named += ["--class-names", str(tmp_path / names)]
    merge = ("--scheme", "ensemble", "--set", "scheme_config.combine=classes", "--teachers", PLAIN)
    student = "dfkd.networks:vgg?widths=(6,10)&convolutions=1"
    words = ["distill", PLAIN, student, *merge, *named, "--image", "1x8x8", "--method", "drawings"]
    assert cli.main([*words, "--steps", "2", "--out", str(tmp_path / "run")]) in (0, FAILED)
    assert dfkd.load_teacher(f"run:{tmp_path / 'run'}").class_names == tuple("abcd")
