"""Where students start: with what they bring, or as their source draws them."""

import json

import torch

from dfkd.cli import main
from dfkd.cli.distill import FAILED
from dfkd.cli.students import student_of
from dfkd.loading import load_teacher
from dfkd.report.sentences import lead

STUDENT = "dfkd.networks:vgg?widths=(8,16)&convolutions=1"
TEACHER = "bundled:digits_vgg"


def test_a_run_that_teaches_nothing_says_so_and_fails(tmp_path, capsys):
    """In its last line, on its page before anything else, and by its exit status."""
    out = tmp_path / "run"
    words = ["--steps", "1", "--init", "random", "--eval", TEACHER, "--out", str(out)]
    assert main(["distill", TEACHER, STUDENT, "--set", "learner.lr=1e-9", *words]) == FAILED
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("The student is at chance")
    result = json.loads((out / "result.json").read_text())
    assert result["failure"] == last
    assert lead(result) == last


def test_a_student_that_brings_weights_keeps_them(tmp_path, capsys):
    """Given by the URI, or by the factory itself, which says nothing of it."""
    code = tmp_path / "own.py"
    code.write_text(
        "from dfkd.loading import load_model\n"
        "def own():\n"
        "    return load_model('bundled:digits_vgg').network\n"
    )
    for number, student in enumerate(("bundled:digits_vgg", f"{code}:own")):
        out = tmp_path / str(number)
        words = ["--steps", "1", "--eval", TEACHER, "--out", str(out)]
        assert main(["distill", TEACHER, student, *words]) == 0
        told = capsys.readouterr().out
        assert "student started with the weights that it brings" in told
        result = json.loads((out / "result.json").read_text())
        assert result["init"]["mode"] == "given"
        assert result["student_accuracy"] == result["teacher_accuracy"]


def test_weights_that_a_student_brings_are_drawn_anew_when_asked(tmp_path):
    teacher = load_teacher(TEACHER)
    kept, given = student_of(TEACHER, teacher, 0, "auto")
    drawn, mode = student_of(TEACHER, teacher, 0, "random")
    assert (given, mode) == ("given", "random")
    assert not torch.equal(*(m.network.head.weight for m in (kept, drawn)))


def test_a_factory_draws_its_own_way(tmp_path):
    """Zero-initialised residuals stay zero, and the seed decides the rest."""
    code = tmp_path / "zero.py"
    code.write_text(
        "from dfkd.networks import resnet\n"
        "from torch import nn\n"
        "def net(num_classes=10, in_channels=1):\n"
        "    made = resnet(8, in_channels, num_classes)\n"
        "    for name, module in made.named_modules():\n"
        "        if name.endswith('bn2'): nn.init.zeros_(module.weight)\n"
        "    return made\n"
    )
    teacher = load_teacher(TEACHER)
    first, again, other = (student_of(f"{code}:net", teacher, s, "auto") for s in (0, 0, 1))
    assert first[1] == "auto"
    states = [one[0].network.state_dict() for one in (first, again, other)]
    zeros = [v for n, v in states[0].items() if n.endswith("bn2.weight")]
    assert zeros
    assert all(bool((value == 0).all()) for value in zeros)
    assert all(
        torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True)
    )
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])
