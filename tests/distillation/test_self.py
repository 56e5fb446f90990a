"""A student that teaches itself: by its deeper layers, or by what it was."""

import copy
import dataclasses
import io

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

import dfkd
from dfkd.datasets import LabelledImages
from dfkd.distillation.learner import Learner
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.schemes.self_config import SelfConfig
from dfkd.distillation.student_init import start_student
from dfkd.errors import DfkdError
from dfkd.evaluation.cost import flops
from dfkd.evaluation.exits import exits_of
from dfkd.loading import load_student_model
from dfkd.loading.sources import rebuild
from dfkd.losses import feature
from dfkd.losses.response import kl_divergence
from dfkd.networks import count_parameters, resnet, vgg
from dfkd.networks.early_exits import EarlyExits
from dfkd.networks.truncated import Truncated
from dfkd.protocols import Batch
from dfkd.recipes import override, recipe, with_scheme
from dfkd.recipes.schemes import build_distiller
from dfkd.report.sentences import earliest_exit
from dfkd.report.table import comparison_table
from dfkd.report.units import NARROW
from dfkd.runs.manifest import Origin
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from dfkd.training.checkpoint import snapshot
from dfkd.training.distributed import Runtime

CONFIG = LearnerConfig(lr=0.01, warmup=0.0, flip=0.0, ema=0.0)
SPEC = ImageSpec(1, 8, 8)
FORMS = {
    "exits": {},
    "kept exits": {"exits": "keep"},
    "generations": {"form": "generations", "generations": 2},
}


def images_of(step: int = 0, count: int = 16) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(step))


def a_student(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return vgg((6, 10), 1, 1, 4)


def itself(teacher, student, config=CONFIG, runtime=None, **settings):
    options = {"runtime": runtime} if runtime else {}
    return build_distiller(teacher, student, config, 0, "self", SelfConfig(**settings), **options)


def run(distiller, steps, total):
    """Updates ``steps`` of a budget of ``total``; what the last one reported."""
    metrics = {}
    for step in steps:
        distiller.set_progress(step / total)
        metrics = distiller.update(Batch(images_of(step)))
    return metrics


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(map(torch.equal, first.values(), second.values()))


# The module


def with_exits(network: nn.Module) -> EarlyExits:
    torch.manual_seed(0)
    whole = EarlyExits(network, (1, 8, 8), 4)
    for _ in range(3):
        whole.answers(torch.rand(8, 1, 8, 8))
    return whole.eval()


def test_exits_sit_at_the_end_of_every_size_but_the_last():
    assert EarlyExits(resnet(20, 1, 4), (1, 8, 8), 4).layers == ("layer1", "layer2")
    assert EarlyExits(vgg((4, 6, 8), 2, 1, 4), (1, 8, 8), 4).layers == ("stages.0", "stages.1")
    chosen = EarlyExits(resnet(20, 1, 4), (1, 8, 8), 4, layers=("layer2.0",))
    assert chosen.layers == ("layer2.0",)
    assert chosen.last == "layer3"
    with pytest.raises(DfkdError, match="'fc' returns none"):
        EarlyExits(resnet(8, 1, 4), (1, 8, 8), 4, layers=("fc",))


@pytest.mark.parametrize(
    "network",
    [
        vgg((8,), 1, 1, 4),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 4)),
    ],
    ids=["one size", "no map"],
)
def test_a_network_without_depths_is_refused_in_one_line(network):
    with pytest.raises(DfkdError, match="take a deeper student") as refusal:
        EarlyExits(network, (1, 8, 8), 4)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("depth", [8, 20])
def test_a_partial_pass_answers_as_a_whole_one_and_computes_less(depth):
    whole, images = with_exits(resnet(depth, 1, 4, (4, 8, 12))), images_of()
    answers = whole.answers(images)
    assert torch.equal(whole(images), answers[-1])
    parts = [whole.exit(index) for index in (0, 1)]
    for part, answer in zip(parts, answers, strict=False):
        torch.testing.assert_close(part(images), answer, rtol=0, atol=0)
        assert not part.training
    costs = [flops(part, SPEC) for part in (*parts, whole)]
    assert 0 < costs[0] < costs[1] < costs[2]
    assert costs[2] == flops(whole.module, SPEC)
    # What is behind an exit is neither computed nor stored.
    sizes = [count_parameters(part) for part in parts]
    behind = count_parameters(whole.module.layer3) + count_parameters(whole.module.fc)
    inside = count_parameters(whole.module) + count_parameters(whole.heads[1])
    assert sizes[1] == inside - behind
    assert sizes[0] < sizes[1]


def test_an_exit_is_a_copy_that_can_be_copied_and_saved():
    whole, images = with_exits(resnet(8, 1, 4, (4, 8, 12))), images_of()
    before = snapshot(whole.state_dict())
    part = whole.exit(0)
    expected = part(images)
    for parameter in part.parameters():
        assert all(parameter is not own for own in whole.parameters())
    twin = copy.deepcopy(part)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.zero_()
    assert torch.equal(twin(images), expected)
    part.load_state_dict(twin.state_dict())
    assert torch.equal(part(images), expected)
    assert all(map(torch.equal, before.values(), whole.state_dict().values()))
    assert not any(module._forward_hooks for module in (*twin.modules(), *whole.modules()))


class Reuses(nn.Module):
    """One convolution called twice at one size, its weights once more without a call."""

    def __init__(self):
        super().__init__()
        self.twice, self.after = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x):
        x = self.twice(self.twice(x)).relu()
        return self.after(F.max_pool2d(x, 2)).mean((2, 3))


def test_the_last_call_of_a_layer_counts():
    network, images = Reuses().eval(), images_of()
    whole = EarlyExits(network, (1, 8, 8), 4).eval()
    assert whole.layers == ("twice",)
    part = Truncated(network, "twice", images)
    assert torch.equal(part(images), network.twice(network.twice(images)))
    assert isinstance(part.module.after, nn.Identity)
    assert torch.equal(whole.exit(0)(images), whole.answers(images)[0])


class Functional(nn.Module):
    """Uses a part's weights without calling it."""

    def __init__(self):
        super().__init__()
        self.part, self.end = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(3, 4)

    def forward(self, x):
        return F.conv2d(x, self.part.weight, padding=1)


def test_what_a_layer_may_use_without_calling_it_stays():
    network = nn.Sequential(Functional(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.Flatten())
    part = Truncated(network, "0", images_of())
    assert torch.equal(part(images_of()), network[0](images_of()))
    assert count_parameters(part) == count_parameters(network[0])


# Exits


def test_what_is_minimised(tiny_teacher, monkeypatch):
    student = a_student()
    distiller = itself(tiny_teacher, student, alpha=0.2, beta=0.5)
    whole, losses = copy.deepcopy(distiller.whole).train(), []
    monkeypatch.setattr(Learner, "learn", lambda self, loss: losses.append(loss))
    metrics = distiller.update(Batch(images_of()))
    images = tiny_teacher.spec.normalize(images_of())
    shallow, deep = whole.module.stages[0](images), whole.module(images)
    end = whole.module.stages[1](F.max_pool2d(shallow, 2)).mean((2, 3))
    embedding = whole.heads[0].embedding(shallow)
    logits, taught = whole.heads[0].classifier(embedding), tiny_teacher(images_of())
    exit_loss = 0.8 * kl_divergence(logits, taught) + 0.2 * kl_divergence(logits, deep)
    exit_loss = exit_loss + 0.5 * feature.hint(embedding, end)
    torch.testing.assert_close(losses[0], kl_divergence(deep, taught) + exit_loss)
    torch.testing.assert_close(metrics["exit_1"], exit_loss.detach())
    agreement = (logits.argmax(1) == taught.argmax(1)).float().mean()
    assert metrics["exit_1_agreement"] == agreement


def test_the_end_takes_no_gradient_from_an_exit(tiny_teacher, monkeypatch):
    student, losses = a_student(), []
    distiller = itself(tiny_teacher, student)
    monkeypatch.setattr(Learner, "weighted", lambda self, parts: torch.zeros(()))
    monkeypatch.setattr(Learner, "learn", lambda self, loss: losses.append(loss))
    distiller.update(Batch(images_of()))
    below, behind = student.stages[0][0].weight, student.stages[1][0].weight
    found = torch.autograd.grad(losses[0], [below, behind], allow_unused=True)
    assert found[0].abs().sum() > 0
    assert found[1] is None


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_exits_on_a_frozen_trunk_change_nothing_of_the_student(optimizer, tiny_teacher):
    config = dataclasses.replace(
        CONFIG, flip=0.5, ema=0.9, optimizer=optimizer, knowledge="kd + at"
    )
    students = [vgg((8, 10), 1, 1, 4) for _ in range(2)]
    students[1].load_state_dict(students[0].state_dict())
    for student in students:
        student.stages[0].requires_grad_(False)
    ours = itself(tiny_teacher, students[0], config)
    theirs = build_distiller(tiny_teacher, students[1], config, 0)
    for distiller in (ours, theirs):
        run(distiller, range(5), 5)
    assert same(*students)
    assert same(ours.finished(), theirs.finished())
    assert ours.student is students[0]
    assert ours.pairs == theirs.pairs


def test_dropped_exits_leave_the_plain_student(tiny_teacher):
    student = a_student()
    distiller = itself(tiny_teacher, student, dataclasses.replace(CONFIG, ema=0.9))
    metrics = run(distiller, range(3), 3)
    assert {"exit_1", "exit_1_agreement"} < set(metrics)
    finished = distiller.finished()
    assert list(finished.state_dict()) == list(student.state_dict())
    assert not finished.training
    (name,) = distiller.networks()
    assert name == "exit 1"
    averaged = distiller.learners[0].finished()
    normalized = tiny_teacher.spec.normalize(images_of())
    torch.testing.assert_close(
        distiller.networks()[name](normalized), averaged.answers(normalized)[0]
    )


def distil_itself(teacher, student, out, **settings):
    data = LabelledImages(
        (255 * images_of(count=32)).to(torch.uint8), torch.arange(32) % 4, "noise"
    )
    plan = with_scheme(recipe("drawings"), "self")
    plan = override(plan, [f"scheme_config.{name}={value}" for name, value in settings.items()])
    uri = "dfkd.networks:vgg?widths=(6,10)&convolutions=1"
    loaded = load_student_model(uri, teacher)
    loaded.network.load_state_dict(student.state_dict())
    return dfkd.distill(
        teacher, loaded.network, recipe=plan, steps=4, evaluation=data, out=out, device="cpu",
        precision="fp32", compile="off",
        origin=Origin(student=uri, factory=loaded.factory, keywords=loaded.keywords),
    )  # fmt: skip


def test_the_artefact_of_dropped_exits_is_the_students(tiny_teacher, tmp_path):
    result = distil_itself(tiny_teacher, a_student(), tmp_path / "run")
    saved = load_file(tmp_path / "run" / "student.safetensors")
    assert set(saved) == set(a_student().state_dict())
    rows = {row["name"]: row for row in result.figures["comparison"]}
    assert list(rows) == ["teacher", "student", "exit 1"]
    assert rows["exit 1"]["flops"] < rows["student"]["flops"]
    assert rows["exit 1"]["latency_ms_1"] > 0
    assert 0 <= rows["exit 1"]["accuracy"] <= 1
    (found,) = result.figures["exits"]
    share = rows["exit 1"]["flops"] / rows["student"]["flops"]
    assert (found["name"], found["share_of_compute"]) == ("exit 1", share)
    assert found["accuracy"] == rows["exit 1"]["accuracy"]
    assert rows["exit 1"]["share_of_compute"] == share < rows["student"]["share_of_compute"] == 1


ROWS = [("teacher", 0.95, 100), ("student", 0.90, 50), ("exit 1", 0.86, 10), ("exit 2", 0.875, 30)]


def test_the_earliest_exit_that_is_nearly_as_good_is_named_with_its_price():
    rows = [dict(zip(("name", "accuracy", "flops"), row, strict=True)) for row in ROWS]
    figures = exits_of(rows)
    assert figures["earliest_exit"] == "exit 2"  # 0.875 of 0.9 are 97.2 %, 0.86 are 95.6 %
    assert [row["share_of_compute"] for row in figures["exits"]] == [0.2, 0.6]
    said = earliest_exit(figures).replace(NARROW, " ")
    assert said.startswith("Exit 2 is the earliest with 97 % of the student’s accuracy: 97.2 %")
    assert said.endswith("for 60 % of the compute.")
    assert exits_of(rows[:3])["earliest_exit"] is None
    assert "No exit" in earliest_exit(exits_of(rows[:3]))
    assert exits_of(rows[:2]) == {}
    assert earliest_exit({}) == ""


def test_eighty_signs_are_enough_for_exits_and_attacks():
    row = {"accuracy": 0.9123, "parameters": 272474, "file_bytes": 1103432, "flops": 81_000_000,
           "latency_ms_1": 1.84, "latency_ms_32": 112.0, "agreement": 1.0}  # fmt: skip
    rows = [row | {"name": name, "share_of_compute": 0.31} for name in ("student", "exit 1")]
    for further in ({}, {"robust_accuracy": 0.4321}):
        out = io.StringIO()
        Console(file=out, width=80).print(comparison_table([one | further for one in rows]))
        lines = out.getvalue().splitlines()
        assert max(map(len, lines)) <= 80
        assert any("exit 1" in line and "31 %" in line and "100.00 %" in line for line in lines)


def test_kept_exits_come_back_with_the_run(tiny_teacher, tmp_path):
    result = distil_itself(tiny_teacher, a_student(), tmp_path / "run", exits="keep")
    loaded = load_student_model(f"run:{tmp_path / 'run'}", tiny_teacher)
    assert isinstance(loaded.network, EarlyExits)
    network, images = loaded.network.eval(), tiny_teacher.spec.normalize(images_of())
    assert loaded.network.layers == ("stages.0",)
    assert same(network, result.student)
    answers = network.answers(images)
    for one, other in zip(answers, result.student.answers(images), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(network.exit(0)(images), answers[0], rtol=0, atol=0)
    assert len(answers) == 2


@pytest.mark.parametrize("scheme", ["offline", "self"])
def test_a_student_that_kept_its_exits_can_be_taught_with_them(scheme, tiny_teacher, tmp_path):
    distil_itself(tiny_teacher, a_student(), tmp_path / "run", exits="keep")
    loaded = load_student_model(f"run:{tmp_path / 'run'}", tiny_teacher)
    plan = with_scheme(recipe("drawings"), scheme)
    plan = override(plan, ["scheme_config.exits=keep"]) if scheme == "self" else plan
    result = dfkd.distill(
        tiny_teacher, loaded.network, recipe=plan, steps=2, out=tmp_path / "again", device="cpu",
        origin=Origin(factory=loaded.factory, keywords=loaded.keywords), precision="fp32",
    )  # fmt: skip
    again = load_student_model(f"run:{tmp_path / 'again'}", tiny_teacher)
    assert same(again.network, result.student)


def test_a_file_cannot_name_what_builds_nothing(tmp_path):
    keywords = {"factory": "run:x", "keywords": {}, "shape": (1, 8, 8), "num_classes": 4}
    with pytest.raises(DfkdError, match="which builds nothing"):
        rebuild("dfkd.loading.exits:with_exits", keywords, "a file")
    keywords["factory"] = "os:system"
    with pytest.raises(DfkdError, match="no network of dfkd"):
        rebuild("dfkd.loading.exits:with_exits", keywords, "a file")


# Generations


def test_one_generation_is_offline_distillation(tiny_teacher):
    config = dataclasses.replace(CONFIG, warmup=0.2, flip=0.5, ema=0.9)
    alone, reborn = a_student(), a_student()
    ours = itself(tiny_teacher, reborn, config, form="generations", generations=1)
    theirs = build_distiller(tiny_teacher, alone, config, 0)
    for distiller in (ours, theirs):
        run(distiller, range(1, 6), 6)  # as if images had taken the first sixth
    assert same(alone, reborn)
    assert same(ours.finished(), theirs.finished())


def test_the_first_of_several_is_offline_within_its_share(tiny_teacher):
    config = dataclasses.replace(CONFIG, warmup=0.2, ema=0.9)
    alone, reborn = a_student(), a_student()
    ours = itself(tiny_teacher, reborn, config, form="generations", generations=3)
    theirs = build_distiller(tiny_teacher, alone, config, 0)
    run(ours, range(4), 12)
    run(theirs, range(4), 4)
    assert same(ours.finished(), theirs.finished())


def test_at_a_border_the_student_becomes_its_successors_teacher(tiny_teacher, monkeypatch):
    config = dataclasses.replace(CONFIG, ema=0.9, knowledge="kd + hint")
    student = a_student()
    distiller = itself(tiny_teacher, student, config, form="generations", predecessor=0.5)
    learner = distiller.learners[0]
    metrics = run(distiller, range(4), 12)
    assert metrics["generation"] == 1
    assert "predecessor" not in metrics
    before, weights = distiller.finished(), snapshot(student.state_dict())
    adapter = next(learner.adapters.parameters()).detach().clone()
    counts, asked = learner.class_counts(), learner.teacher_images

    distiller.set_progress(4 / 12)
    past = distiller.lineage.past[0]
    assert same(past, before)
    assert not past.training
    assert not any(parameter.requires_grad for parameter in past.parameters())
    assert distiller.student is student
    assert learner.steps == 0
    assert not torch.equal(student.head.weight, weights["head.weight"])
    assert not torch.equal(next(learner.adapters.parameters()), adapter)
    assert not learner._optimizer.state
    assert (learner.class_counts(), learner.teacher_images) == (counts, asked)
    assert learner._optimizer.param_groups[0]["lr"] == pytest.approx(config.lr)

    live, losses = copy.deepcopy(student).train(), []
    monkeypatch.setattr(Learner, "learn", lambda self, loss: losses.append(loss.detach()))
    metrics = distiller.update(Batch(images_of(4)))
    images = tiny_teacher.spec.normalize(images_of(4))
    former = kl_divergence(live(images), past(images)).detach()
    torch.testing.assert_close(metrics["predecessor"], former)
    wanted = metrics["kd"] + metrics["hint"] + 0.5 * former
    torch.testing.assert_close(losses[0], wanted)
    assert metrics["generation"] == 2


def test_generations_share_what_is_left_after_the_first_images(tiny_teacher):
    config = dataclasses.replace(CONFIG, lr=1.0)
    distiller = itself(tiny_teacher, a_student(), config, form="generations", generations=2)
    group = distiller.learners[0]._optimizer.param_groups[0]
    distiller.set_progress(0.5)
    assert group["lr"] == pytest.approx(0.25, abs=0.01)  # 2/3 of the first one's three quarters
    distiller.set_progress(0.74)
    assert distiller.lineage.generation == 0
    assert group["lr"] < 0.01
    distiller.set_progress(0.76)
    assert distiller.lineage.generation == 1
    group = distiller.learners[0]._optimizer.param_groups[0]
    assert group["lr"] > 0.99
    distiller.set_progress(1.0)
    assert distiller.lineage.generation == 1
    assert group["lr"] == pytest.approx(0)


class Token(nn.Module):
    """A weight that no ``reset_parameters`` knows of, before a network."""

    def __init__(self, network):
        super().__init__()
        self.token, self.network = nn.Parameter(torch.full((1, 1, 8, 8), 0.5)), network

    def forward(self, x):
        return self.network(x + self.token)


@pytest.mark.parametrize("trunk", ["frozen", "trained"])
def test_every_generation_begins_with_what_the_run_began_with(trunk, tiny_teacher):
    network = vgg((8, 10), 1, 1, 4)
    start_student(network, tiny_teacher.network, "teacher", trunk)
    student = Token(network)
    start = snapshot(student.state_dict())
    distiller = itself(tiny_teacher, student, form="generations", generations=2)
    run(distiller, range(5), 10)
    for name in ("token", "network.head.weight", "network.stages.1.1.running_mean"):
        assert not torch.equal(student.state_dict()[name], start[name])
    distiller.set_progress(0.5)
    assert all(map(torch.equal, start.values(), student.state_dict().values()))


def test_a_newborn_is_not_kept_before_its_generation_ends(tiny_teacher):
    distiller = itself(tiny_teacher, a_student(), form="generations", generations=2)
    run(distiller, range(4), 8)
    first = distiller.finished()
    run(distiller, range(4, 7), 8)
    assert same(distiller.finished(), first)
    assert distiller.networks() == {}
    distiller.set_progress(1.0)
    assert same(distiller.finished(), distiller.student)
    assert same(distiller.networks()["generation 1"], first)


def test_nobody_is_born_when_the_budget_ends(tiny_teacher):
    distiller = itself(tiny_teacher, a_student(), form="generations", generations=2)
    run(distiller, range(1), 4)
    distiller.set_progress(1.0)
    assert distiller.lineage.generation == 0
    assert same(distiller.finished(), distiller.student)


# Both forms


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pause", [3, 5])
def test_resuming_is_exact(form, pause, tiny_teacher):
    config = dataclasses.replace(CONFIG, flip=0.5, ema=0.9, knowledge="kd + hint")
    whole, part, resumed = (itself(tiny_teacher, a_student(), config, **FORMS[form]) for _ in "123")
    run(whole, range(8), 8)
    run(part, range(pause), 8)
    resumed.load_state_dict(snapshot(part.state_dict()))
    run(resumed, range(pause, 8), 8)
    for distiller in (whole, resumed):
        distiller.set_progress(1.0)
    assert same(whole.finished(), resumed.finished())
    others = resumed.networks()
    assert list(whole.networks()) == list(others) != []
    assert all(same(network, others[name]) for name, network in whole.networks().items())
    assert whole.class_counts() == resumed.class_counts()
    assert whole.teacher_images == resumed.teacher_images


@pytest.mark.parametrize("form", FORMS)
def test_it_learns_and_the_teacher_stays_as_it_was(form, tiny_teacher):
    before = tiny_teacher.fingerprint()
    distiller = itself(tiny_teacher, a_student(), **FORMS[form])
    found = []
    for step in range(120 if "generations" in FORMS[form] else 60):
        distiller.set_progress(0.0 if step < 60 else 0.5)
        found.append(distiller.update(Batch(images_of(count=64))))
    for name in set(found[-1]) - {"generation"}:
        if name.endswith("agreement"):
            assert found[-1][name] > 0.8, name
        else:
            start = next(metrics[name] for metrics in found if name in metrics)
            assert found[-1][name] < 0.5 * start, name
    assert tiny_teacher.fingerprint() == before


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_learns_too(form, tiny_teacher):
    runtime = Runtime(torch.device("cpu"), "bf16", 0, 1)
    distiller = itself(tiny_teacher, a_student(), runtime=runtime, **FORMS[form])
    distiller.set_progress(0.0)
    distiller.update(Batch(images_of()))
    distiller.set_progress(0.6)
    found = [distiller.update(Batch(images_of())) for _ in range(30)]
    assert found[-1]["kd"] < 0.7 * found[0]["kd"]
    assert all(value.dtype == torch.float32 for value in found[-1].values())


@pytest.mark.parametrize("form", FORMS)
def test_the_meta_device_is_never_read(form):
    teacher = Teacher(resnet(20, 1, 10).to("meta"), ImageSpec(1, 16, 16))
    distiller = itself(teacher, resnet(8, 1, 10).to("meta"), **FORMS[form])
    for progress in (0.0, 0.6):
        distiller.set_progress(progress)
        metrics = distiller.update(Batch(torch.rand(4, 1, 16, 16, device="meta")))
    assert all(value.device.type == "meta" for value in metrics.values())


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_drawn_from_the_global_generator(form, tiny_teacher):
    student = a_student()
    before = torch.random.get_rng_state()
    run(itself(tiny_teacher, student, **FORMS[form]), range(4), 4)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"form": "exit"}, "form must be"),
        ({"exits": "yes"}, "keep or drop"),
        ({"form": "generations", "exits": "keep"}, "no exits to keep"),
        ({"alpha": 1.5}, "alpha"),
        ({"beta": -1.0}, "beta"),
        ({"predecessor": float("inf")}, "predecessor"),
        ({"generations": 0}, "generations"),
    ],
)
def test_impossible_settings_are_refused(settings, what):
    with pytest.raises(DfkdError, match=what) as refusal:
        SelfConfig(**settings)
    assert "\n" not in str(refusal.value)
