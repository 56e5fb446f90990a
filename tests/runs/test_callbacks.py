"""What watches a run is told everything once, and may fail without harm to the run's files."""

import copy
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from dfkd.runs.callbacks import Callback
from dfkd.runs.distillation import distill
from dfkd.runs.options import Compute, Output
from dfkd.training import checkpoint
from dfkd.training.engine import Engine
from support.methods import small
from support.runs import same

COMPUTE = Compute(device="cpu", precision="fp32")
HOOKS = ("on_start", "on_log", "on_checkpoint", "on_mark")


def run(teacher, student, callback, output=None, steps=8):
    return distill(
        teacher, copy.deepcopy(student), small("redraw"), steps=steps, compute=COMPUTE,
        output=output, callbacks=[callback],
    )  # fmt: skip


class Notes(Callback):
    """Everything that it is told, in order."""

    def __init__(self, *marks):
        self.marks, self.calls = marks, []

    def on_start(self, facts):
        self.calls.append(("on_start", facts))

    def on_log(self, progress, step, metrics, class_counts):
        self.calls.append(("on_log", progress, step, metrics, list(class_counts)))

    def on_checkpoint(self, step, path):
        self.calls.append(("on_checkpoint", step, path))

    def on_mark(self, progress, step, seconds, student):
        self.calls.append(("on_mark", progress, step, student.state_dict()))

    def of(self, hook):
        return [call[1:] for call in self.calls if call[0] == hook]


def test_a_callback_is_told_the_start_the_marks_the_metrics_and_the_checkpoints(
    tiny_teacher, tiny_student, tmp_path
):
    notes = Notes(0.25, 1.0)
    result = run(tiny_teacher, tiny_student, notes, tmp_path / "run")
    assert notes.calls[0][0] == "on_start"
    ((facts,),) = notes.of("on_start")
    saved = json.loads((tmp_path / "run" / "result.json").read_text())
    assert facts == {name: saved[name] for name in facts}
    assert {"init", "compiled", "pairs", "mirror", "decisions", "images_given"} == set(facts)
    progress, step, metrics, counts = notes.of("on_log")[-1]
    assert (progress, step) == (1.0, 8)
    assert counts == result.metrics.class_counts
    assert result.log[-1] == {"step": 8, "seconds": result.log[-1]["seconds"], **metrics}
    (half, end) = notes.of("on_mark")
    assert (half[:2], end[:2]) == ((0.25, 2), (1.0, 8))
    assert not same(half[2], end[2])
    assert notes.of("on_checkpoint")[-1] == (8, tmp_path / "run" / "checkpoint" / "last.pt")


def test_watching_changes_no_student(tiny_teacher, tiny_student):
    plain, watched = (
        run(tiny_teacher, tiny_student, one) for one in (Callback(), Notes(0.1, 0.5, 0.9))
    )
    assert same(plain.student.state_dict(), watched.student.state_dict())


@pytest.mark.parametrize("hook", HOOKS)
def test_a_callback_that_raises_leaves_whole_files_and_a_run_to_go_on(
    hook, tiny_teacher, tiny_student, tmp_path, monkeypatch
):
    made = Engine.__init__
    often = {"save_every": 0.0, "report_every": 0.0}
    monkeypatch.setattr(Engine, "__init__", lambda self, *a, **k: made(self, *a, **k | often))

    class Fails(Notes):
        def fail(self, *told):
            """At once; or in the middle, where there is one: one argument is the step."""
            if hook == "on_start" or 4 in told:
                raise ZeroDivisionError

    failing = Fails(*(i / 8 for i in range(1, 9)))
    setattr(failing, hook, failing.fail)
    for other in set(HOOKS) - {hook}:
        setattr(failing, other, lambda *_: None)
    out = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        run(tiny_teacher, tiny_student, failing, out)
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith("tb/")} <= {
        "metrics.jsonl", "checkpoint/last.pt",
    }  # fmt: skip
    for line in (out / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
    whole = run(tiny_teacher, tiny_student, Callback())
    begun = "checkpoint/last.pt" in names
    assert begun is (hook != "on_start")
    if begun:
        assert 0 < checkpoint.load(out / "checkpoint")["account"]["steps"] < 8
    output = Output(out, resume=begun, overwrite=not begun)
    again = run(tiny_teacher, tiny_student, Callback(), output)
    assert same(whole.student.state_dict(), again.student.state_dict())


def test_a_mark_is_passed_once_in_all_sessions(tiny_teacher, tiny_student, tmp_path, monkeypatch):
    step = Engine._distill

    def stop(self, progress):
        step(self, progress)
        if self.account.steps == 4:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Engine, "_distill", stop)
    first, second = Notes(0.25, 0.75), Notes(0.25, 0.75)
    assert run(tiny_teacher, tiny_student, first, tmp_path / "run").interrupted
    monkeypatch.undo()
    run(tiny_teacher, tiny_student, second, Output(tmp_path / "run", resume=True))
    assert [mark[:2] for mark in first.of("on_mark")] == [(0.25, 2)]
    assert [mark[:2] for mark in second.of("on_mark")] == [(0.75, 6)]


def test_the_log_of_a_run_is_that_of_its_file(tiny_teacher, tiny_student, tmp_path):
    result = run(tiny_teacher, tiny_student, Callback(), tmp_path / "run")
    rows = [json.loads(r) for r in Path(tmp_path, "run", "metrics.jsonl").read_text().splitlines()]
    for ours, theirs in zip(result.log, rows, strict=True):
        assert ours["seconds"] == pytest.approx(theirs.pop("seconds"), abs=1e-3)
        assert {name: value for name, value in ours.items() if name != "seconds"} == theirs
    figure = result.plot()
    assert len(figure.axes) >= 1
    assert torch.is_grad_enabled()
