"""A checkpoint is whole, finite and alone, or the one before it stays as it was."""

import copy
import errno
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from dfkd.distillation.schemes.offline import Offline
from dfkd.errors import DfkdError
from dfkd.recipes import override
from dfkd.runs.distillation import distill
from dfkd.training import checkpoint, finite
from dfkd.training.averaging import MovingAverage
from dfkd.training.engine import Engine
from support.methods import small

NAN, INF = float("nan"), float("inf")


def state(steps=7, **entries):
    """A state of one learner, with ``PART__NAME=value`` laid over it."""
    learner = {
        "student": {"head.weight": torch.ones(2, 2)},
        "average": {"head.weight": torch.ones(2, 2)},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "groups": [{"decay": 1e308}]},
        "adapters": {},
        "adapters_optimizer": None,
        "generator": torch.get_rng_state(),
    }
    synthesizer = {"pixels": torch.rand(3), "best_cost": torch.full((3,), INF), "bank": {}}
    found = {
        "synthesizer": synthesizer,
        "distiller": {"learners": [learner], "extras": {"standing": {"best": -INF}}},
        "curve": {"kept": []},
        "account": {"steps": steps, "seconds": 1.5},
    }
    groups = {**learner, "synthesizer": synthesizer, "extras": found["distiller"]["extras"]}
    for name, value in entries.items():
        part, _, key = name.partition("__")
        groups[part][key] = value
    return found


def test_a_sound_state_comes_back(tmp_path):
    checkpoint.save(tmp_path / "checkpoint", state())
    assert checkpoint.load(tmp_path / "checkpoint")["account"]["steps"] == 7


FAULTS = {
    "student": (
        {"student__stem.weight": torch.tensor([1.0, NAN])},
        "the student's stem.weight holds NaN after step 7: .* lower learner.lr or learner.w",
    ),
    "infinite": ({"student__stem.weight": torch.tensor([-INF])}, "stem.weight holds infinity"),
    "half": ({"student__a": torch.tensor([INF]).half()}, "student's a holds infinity"),
    "eight bits": ({"student__a": torch.tensor([NAN]).to(torch.float8_e4m3fn)}, "a holds NaN"),
    "complex": ({"student__a": torch.tensor([complex(1, INF)])}, "a holds infinity"),
    "average": ({"average__a": torch.tensor(NAN)}, "the averaged student's a holds NaN"),
    "moments": (
        {"optimizer__state": {0: {}, 3: {"exp_avg_sq": torch.tensor([INF])}}},
        "the optimiser's state.3.exp_avg_sq holds infinity",
    ),
    "adapters": ({"adapters__hint.0.weight": torch.tensor(NAN)}, "the adapters' hint.0.weight"),
    "extras": ({"extras__judge": {"critic": torch.tensor(NAN)}}, "the scheme's judge.critic holds"),
    "a number": ({"extras__loss": NAN}, "the scheme's loss holds NaN"),
    "pixels": (
        {"synthesizer__pixels": torch.tensor([0.5, NAN])},
        "the synthesizer's pixels holds NaN after step 7: .* lower rate of synthesis",
    ),
    "bank": ({"synthesizer__bank": {"logits": torch.tensor(NAN)}}, "bank.logits holds NaN"),
    "long": ({"student__" + "block." * 60: torch.tensor(NAN)}, "block.*….*block.* holds NaN"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_not_finite_is_named_and_never_written_over_what_is(case, tmp_path):
    path = checkpoint.save(tmp_path, state(steps=3))
    before = path.read_bytes()
    entries, words = FAULTS[case]
    with pytest.raises(DfkdError, match=words) as refusal:
        checkpoint.save(tmp_path, state(**entries))
    assert len(str(refusal.value)) <= 300
    assert "\n" not in str(refusal.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [checkpoint.NAME]


def test_what_was_infinite_before_training_may_stay_so_but_not_become_nan():
    start = state(student__mask=torch.tensor([0.0, -INF]))
    known = finite.infinities(start["distiller"])
    assert known == {"mask"}
    finite.check_state(start, known)
    for mended in (start, state(student__mask=torch.tensor([0.0, NAN]))):
        with pytest.raises(DfkdError, match="the student's mask holds"):
            finite.check_state(mended, known if mended is not start else ())


def test_of_several_students_the_one_is_named():
    both = state()
    other = copy.deepcopy(both["distiller"]["learners"][0])
    other["student"]["head.weight"][0, 0] = NAN
    both["distiller"]["learners"].append(other)
    with pytest.raises(DfkdError, match=r"the student's head.weight \(of student 2\) holds NaN"):
        finite.check_state(both)


class Masked(nn.Module):
    """A network with a mask of attention, as transformers have one."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 4)
        self.register_buffer("mask", torch.full((4, 4), -INF).triu(1))

    def forward(self, images):
        return self.layer(images.flatten(1)) + self.mask.softmax(1).sum()


def test_a_finished_network_is_checked_likewise():
    network = Masked()
    finite.check_network(network, "the student", 5, {"mask"})
    with pytest.raises(DfkdError, match="the student's mask holds infinity after step 5"):
        finite.check_network(network, "the student", 5)
    with torch.no_grad():
        network.layer.weight[0, 0] = INF
    with pytest.raises(DfkdError, match=r"the student's layer\.weight holds infinity after step 5"):
        finite.check_network(network, "the student", 5, {"mask"})


def test_an_averaged_mask_stays_what_it_is():
    network = Masked()
    average = MovingAverage(network, 0.9)
    with torch.no_grad():
        network.layer.weight += 1
    for _ in range(3):
        average.update_parameters(network)
    assert torch.equal(average.module.mask, network.mask)
    assert 0 < (average.module.layer.weight - network.layer.weight).abs().max() < 1


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def torchs(state, file):
    file.write(b"half of it")
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1 vs 2\nmore")


@pytest.mark.parametrize(
    ("where", "what", "words"),
    [
        ("torch.save", full, "No space left on device"),
        ("torch.save", torchs, "inline_container"),
        ("os.fsync", full, "No space left on device"),
        ("pathlib.Path.replace", full, "No space left on device"),
    ],
)
def test_a_failed_save_is_one_line_and_leaves_what_was_there(
    where, what, words, tmp_path, monkeypatch
):
    path = checkpoint.save(tmp_path, state())
    before = path.read_bytes()
    monkeypatch.setattr(where, what)
    with pytest.raises(DfkdError, match=words) as refusal:
        checkpoint.save(tmp_path, state(steps=8))
    monkeypatch.undo()
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [checkpoint.NAME]


def test_what_a_killed_run_left_beside_it_is_replaced_and_never_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("thesis")
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    (directory / "last.pt.tmp").symlink_to(victim)
    checkpoint.save(directory, state())
    assert victim.read_text() == "thesis"
    assert [entry.name for entry in directory.iterdir()] == [checkpoint.NAME]


def trained(teacher, student, out, *settings, steps=12, **options):
    plan = override(small("drawings"), ["init=random", *settings])
    return distill(
        teacher, copy.deepcopy(student), recipe=plan, steps=steps, out=out, device="cpu",
        precision="fp32", compile="off", **options,
    )  # fmt: skip


@pytest.fixture
def every_step(monkeypatch):
    """A checkpoint after every step, and reports that come too late to be of help."""
    made = Engine.__init__

    def init(self, *arguments, **options):
        made(self, *arguments, **options | {"save_every": 0.0, "report_every": 1e9})

    monkeypatch.setattr(Engine, "__init__", init)


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("part", ["student", "average", "moments"])
def test_a_run_that_diverges_keeps_its_last_good_checkpoint_and_goes_on_from_it(
    part, tiny_teacher, tiny_student, tmp_path, monkeypatch
):
    whole = trained(tiny_teacher, tiny_student, None)
    update, good = Offline.update, {}

    def spoilt(self, batch):
        metrics = update(self, batch)
        learner = self.learners[0]
        if learner.steps == 6:
            parameter = next(learner.student.parameters())
            moments = learner._optimizer.state_dict()["state"][0]["exp_avg"]
            broken = {"student": parameter.data, "moments": moments}
            broken["average"] = next(learner._average.parameters()).data
            broken[part].view(-1)[0] = NAN
        return metrics

    saved = checkpoint.save

    def keeping(directory, *arguments):
        path = saved(directory, *arguments)
        good["bytes"] = path.read_bytes()
        return path

    monkeypatch.setattr(Offline, "update", spoilt)
    monkeypatch.setattr(checkpoint, "save", keeping)
    with pytest.raises(DfkdError, match="holds NaN after step 6"):
        trained(tiny_teacher, tiny_student, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint" / checkpoint.NAME
    assert path.read_bytes() == good["bytes"]
    assert checkpoint.load(path.parent)["account"]["steps"] == 5
    assert not (tmp_path / "run" / "student.safetensors").exists()
    monkeypatch.setattr(Offline, "update", update)
    resumed = trained(tiny_teacher, tiny_student, tmp_path / "run", resume=True)
    for name, value in whole.student.state_dict().items():
        assert torch.equal(value, resumed.student.state_dict()[name])


ABSURD = {
    "decay": ("learner.weight_decay=1e308",),
    "rate": ("learner.lr=1e30", "learner.warmup=0"),
    "sgd": ("learner.lr=1e30", "learner.optimizer=sgd", "learner.warmup=0"),
}


@pytest.mark.parametrize("out", ["run", None])
@pytest.mark.parametrize("case", ABSURD)
def test_a_student_that_is_not_finite_is_never_given_out(
    case, out, tiny_teacher, tiny_student, tmp_path
):
    out = out and tmp_path / out
    with pytest.raises(DfkdError, match=r" holds | is nan| is inf"):
        trained(tiny_teacher, tiny_student, out, *ABSURD[case], steps=2)
    assert not list(Path(tmp_path).rglob("student.safetensors"))


def test_a_student_with_a_mask_is_trained_and_saved(tiny_teacher, tmp_path):
    result = trained(tiny_teacher, Masked(), tmp_path / "run", steps=3)
    assert torch.equal(result.student.mask, Masked().mask)
    assert (tmp_path / "run" / "checkpoint" / checkpoint.NAME).exists()
