"""Runs that were provoked to be ill are found so, and healthy ones are passed over in silence."""

import json
import re

import pytest
import torch
from torch import nn

import dfkd
from dfkd.cli import main
from dfkd.errors import DfkdError
from dfkd.evaluation.health import effective_share, measure_health
from dfkd.networks import initialise, resnet, vgg
from dfkd.recipes.methods import METHODS
from dfkd.runs.doctor import Watch
from dfkd.runs.record import RunRecord
from dfkd.runs.symptoms import SYMPTOMS, find_symptoms
from support.methods import make_student, make_teacher

SPEC = dfkd.ImageSpec(1, 8, 8)
QUICK = {"draws": 64, "refine_batch": 32, "refine_steps": 2}
HEALTHY_HELD_OUT = {"kept": "end", "start": {"agreement": 0.1}}


def digits(**settings):
    """A run on a bundled teacher; its findings by name."""
    steps, images = settings.pop("steps", 12), settings.pop("images", None)
    teacher = settings.pop("teacher", None) or dfkd.load_teacher("bundled:digits_vgg")
    start = settings.pop("student", None) or resnet(8, 1, teacher.num_classes, (4, 8, 16))
    student = initialise(start, seed=0)
    learner = {"flip": 0.0, **settings.pop("learner", {})}
    making = {}
    if images is None:
        making["synthesizer"] = QUICK | settings.pop("synthesizer", {})
    plan = dfkd.recipe("default", init="random", learner=learner, **making, **settings)
    result = dfkd.distill(teacher, student, plan, steps=steps, images=images)
    return {line.partition(":")[0]: line for line in result.metrics.findings}


class Sure(nn.Module):
    """The bundled teacher with logits a thousand times as large."""

    def __init__(self):
        super().__init__()
        self.inside = dfkd.load_teacher("bundled:digits_vgg").restore()

    def forward(self, x):
        return 1000 * self.inside(x)


def slow_norms():
    """Batch-norms that average all steps alike, so that they never catch up."""
    student = resnet(8, 1, 10, (4, 8, 16))
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1e-4
    return student


def alike():
    return torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).repeat(64, 1, 1, 1)


def rows(losses, agreement, name="kd", **more):
    count = len(losses)
    return [
        {"step": 1 + 200 * i // count, "seconds": i, f"distillation/{name}": loss,
         "distillation/agreement": agreed, **dict.fromkeys(more, 1.0)}
        for i, (loss, agreed) in enumerate(zip(losses, agreement, strict=True))
    ]  # fmt: skip


def black_and_white():
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(128, 1, 8, 8, generator=generator) > 0.5).float()


PROVOKED = {
    "student at chance": {"steps": 1},
    "duplicates": {"images": alike()},
    "images of few classes": {"images": alike(), "steps": 30},
    "saturated pixels": {"images": black_and_white()},
    "statistics gap": {"images": 0.02 * black_and_white() + 0.98},
    "over-confident teacher": {"teacher": True, "learner": {"temperature": 1.0}},
    "answers of few classes": {
        "steps": 6, "learner": {"lr": 3.0, "optimizer": "sgd", "warmup": 0.0, "ema": 0.0},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PROVOKED)
def test_a_provoked_run_is_found_to_have_it(name):
    settings = dict(PROVOKED[name])
    if settings.get("teacher"):
        settings["teacher"] = dfkd.Teacher(Sure(), SPEC)
    found = digits(**settings)
    assert name in found
    assert len(found[name]) <= 300


def test_norms_that_remember_other_images_are_seen():
    teacher = dfkd.load_teacher("bundled:digits_vgg")
    images = dfkd.load_data("bundled:digits_vgg").images[:64].float() / 255
    student = dfkd.load_teacher("bundled:digits_vgg").restore()
    assert measure_health(teacher, student, images).agreement == 1.0
    torch.manual_seed(0)
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 3 * torch.randn_like(module.running_mean)
    health = vars(measure_health(teacher, student, images))
    record = RunRecord([], result={"health": health, "student_steps": 500})
    assert "batch-norm drift" in [one.name for one in find_symptoms(record)]


CURVES = {
    "rate too low": rows([1.0] * 8, [0.1] * 8),
    "rate too high": rows([1, 1, 1, 1, 2, 4, 9, 9], [0.2] * 8),
    "adversary running away": rows(
        [0.3, 0.2, 0.2, 0.3, 0.5, 0.6, 0.9, 0.9], [0.6, 0.9, 0.9, 0.8, 0.6, 0.5, 0.4, 0.3],
        **{"synthesis/adv": 1},
    ),
    "no number": [{"step": 3, "seconds": 1.0, "synthesis/loss": None}],
    "no student step": [{"step": 0, "seconds": 100.0, "synthesis/loss": 1.0}],
}  # fmt: skip


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_shows_it_while_the_run_goes_on(name):
    record = RunRecord(CURVES[name], progress=0.8)
    assert [one.name for one in find_symptoms(record)] == [name]


def test_few_steps_are_said_of_a_budget_of_time_alone():
    log = [{"step": 100, "seconds": 60.0, "distillation/kd": 1.0}]
    assert [one.name for one in find_symptoms(RunRecord(log, minutes=1.0))] == ["too few steps"]
    assert find_symptoms(RunRecord(log)) == []


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ([200, 0, 210, 5, 190, 200, 3, 205, 198, 202], r"of 3 classes \(b, d, g\)\. "),
        ([0, 0, 0, 0, 100, 100, 100, 100, 100, 100], r"of 4 classes \(a, b, c, …\)\. "),
    ],
)
def test_classes_that_hardly_come_are_named(counts, says):
    record = RunRecord([], result={"class_counts": counts}, names=tuple("abcdefghij"))
    (found,) = find_symptoms(record)
    assert found.name == "rare classes"
    assert re.search(says, found.line())
    (numbered,) = find_symptoms(RunRecord([], result={"class_counts": counts}))
    first = "abcdefghij".index(found.evidence.partition("(")[2][0])
    assert f"({first}, " in numbered.evidence


@pytest.mark.parametrize("counts", [[100] * 10, [1000] + [0] * 9, [3, 0], [60, 100]])
def test_even_few_and_collapsed_counts_have_no_rare_classes(counts):
    record = RunRecord([], result={"class_counts": counts})
    assert "rare classes" not in [found.name for found in find_symptoms(record)]


def test_every_symptom_is_provoked():
    elsewhere = {"batch-norm drift", "too few steps", "rare classes"}
    assert {*PROVOKED, *CURVES, *elsewhere} == SYMPTOMS.keys()


@pytest.mark.parametrize("method", ["redraw", "drawings", "zskt"])
def test_the_beginning_of_healthy_runs_is_passed_over(method):
    """A student at chance is no illness of a run so short."""
    loaded = dfkd.load_teacher("bundled:digits_vgg")
    plan = dfkd.recipe(method, init="random", alternation={"batch_size": 64})
    result = dfkd.distill(loaded, make_student(1, loaded.num_classes), plan, steps=20)
    names = {line.partition(":")[0] for line in result.metrics.findings}
    assert names <= {"student at chance", "answers of few classes", "rare classes"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if not row.patches])
def test_healthy_runs_are_passed_over(method, seed, tmp_path):
    words = ["distill", "bundled:digits_vgg", "dfkd.networks:resnet?depth=8&widths=(8,16,32)"]
    words += ["--method", method, "--seed", str(seed), "--init", "random", "--minutes", "0.3"]
    main([*words, "--out", str(tmp_path / "run")])
    names = {one.name for one in dfkd.diagnose(tmp_path / "run")}
    assert names <= {"too few steps", "student at chance", "rare classes"}


def test_the_command_reads_a_run_and_refuses_what_is_none(tmp_path, capsys):
    teacher, out = dfkd.load_teacher("bundled:digits_vgg"), tmp_path / "run"
    plan = dfkd.recipe("default", init="random", learner={"flip": 0.0}, synthesizer=QUICK)
    student = initialise(resnet(8, 1, 10, (4, 8, 16)), seed=0)
    result = dfkd.distill(teacher, student, plan, steps=1, output=out)
    assert [one.line() for one in dfkd.diagnose(out)] == list(result.metrics.findings)
    assert main(["doctor", str(out)]) == 0
    assert "student at chance" in (shown := capsys.readouterr().out)
    assert "try: more --minutes" in shown
    page = (out / "report.html").read_text()
    assert "What is wrong" in page
    assert main(["doctor", str(tmp_path)]) == 2
    assert "holds no run of dfkd distill" in capsys.readouterr().err
    (out / "metrics.jsonl").write_text("{")
    with pytest.raises(DfkdError, match="cannot be read"):
        dfkd.diagnose(out)


def test_a_healthy_record_is_said_to_be_one(tmp_path, capsys):
    (tmp_path / "result.json").write_text(json.dumps({"student_steps": 3}))
    assert main(["doctor", str(tmp_path)]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_a_live_line_comes_once_and_not_at_the_end():
    said = []
    watch = Watch(said.append)
    watch.on_start({})
    for _ in range(3):
        watch.on_log(0.4, 300, {"synthesis/loss": 1.0}, [1000, 0, 0, 0])
    watch.on_log(1.0, 300, {"synthesis/loss": 1.0}, [1000, 0, 0, 0])
    (line,) = said
    assert line.startswith("images of few classes: the images show the teacher 1.0 of 4 classes")


def test_looking_changes_nothing():
    teacher, student = make_teacher(), vgg((4, 8), 1, 1, 4)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    state, modes = torch.get_rng_state(), [module.training for module in student.modules()]
    measure_health(teacher, student, torch.rand(8, 1, 8, 8, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert [module.training for module in student.modules()] == modes


def test_a_ground_that_all_share_is_not_saturation():
    teacher = make_teacher()
    images = torch.zeros(8, 1, 8, 8)
    images[:, :, 3] = torch.rand(8, 1, 8).clamp(0.1, 0.9)
    assert measure_health(teacher, make_student(), images).saturated == 0.0
    assert effective_share([3, 3, 3]) == 1.0
