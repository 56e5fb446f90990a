"""The command line as a user meets it: real processes, exit statuses, files, errors."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dfkd.cli.distill import FAILED
from dfkd.cli.entry import COMMANDS, _parse
from dfkd.datasets import load_data
from dfkd.recipes.methods import METHODS
from support.commands import STUDENT, TEACHER, dfkd

QUICK = ("--set", "alternation.warmup_updates=1", "--set", "synthesizer.refine_batch=16",
         "--set", "synthesizer.draws=32")  # fmt: skip


@pytest.fixture
def here(capsys):
    """As ``dfkd``, in this process: where nothing depends on a process of its own."""
    from dfkd.cli import main

    def run(*words):
        status = main([*map(str, words)])
        said = capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=said.out, stderr=said.err)

    return run


def test_help_and_import_leave_torch_alone():
    code = (
        "import sys, dfkd\n"
        "from dfkd.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "distill" in done.stdout


def test_distill_evaluate_and_use_the_run(tmp_path, here):
    out = tmp_path / "run"
    done = dfkd("distill", TEACHER, STUDENT, "--steps", 6, "--eval", TEACHER, "--out", out, *QUICK)
    assert done.returncode in (0, FAILED), done.stderr  # a few steps teach little
    assert str(out / "grid.png") in done.stdout.splitlines()
    figures = json.loads((out / "result.json").read_text())
    keys = {"method", "teacher_accuracy", "student_accuracy", "agreement", "collapsed", "seconds"}
    keys |= {"teacher_parameters", "student_parameters", "student_steps"}
    keys |= {"images_synthesized", "teacher_forwards"}
    assert keys <= set(figures)
    assert set(figures["seconds"]) == {"total", "synthesis", "distillation", "asking"}
    assert figures["teacher_accuracy"] > 0.97
    weights = load_file(out / "student.safetensors")
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    again = here("evaluate", TEACHER, f"run:{out}", "--data", TEACHER)
    assert again.returncode == 0, again.stderr
    full = here("distill", TEACHER, STUDENT, "--steps", 2, "--out", out)
    assert (full.returncode, full.stderr.count("\n")) == (2, 1)
    assert "--overwrite" in full.stderr
    assert json.loads((out / "result.json").read_text()) == figures
    typo = here("distill", "bundled:digit", STUDENT, "--steps", 2, "--out", out, "--overwrite")
    assert typo.returncode == 2
    assert json.loads((out / "result.json").read_text()) == figures, "a typo cost an earlier run"
    words = ("--steps", 2, "--out", out, "--overwrite", *QUICK)
    itself = here("distill", TEACHER, f"run:{out}", *words)
    assert (itself.returncode, itself.stderr.count("\n")) == (2, 1)
    assert json.loads((out / "result.json").read_text()) == figures, "a run read and replaced"
    more = here("distill", TEACHER, STUDENT, *words)
    assert more.returncode in (0, FAILED), more.stderr
    assert json.loads((out / "result.json").read_text())["student_steps"] == 2


def test_knowledge_and_schemes_go_by_name(tmp_path, here):
    kinds, schemes = here("knowledge").stdout, here("schemes").stdout
    assert all(line.split()[1].endswith("*") for line in kinds.splitlines())
    assert {"kd", "rkd", "crd"} < {line.split()[0] for line in kinds.splitlines()}
    assert {"online", "robust"} < {line.split()[0] for line in schemes.splitlines()}
    assert "scheme_config.epsilon=0.03" in here("schemes", "robust").stdout
    unknown = here("schemes", "robus")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    out = tmp_path / "run"
    words = ("--scheme", "self", "--exits", "keep", "--knowledge", "kd + hint", "--steps", 4)
    done = here("distill", TEACHER, STUDENT, *words, "--eval", TEACHER, "--out", out, *QUICK)
    assert done.returncode in (0, FAILED), done.stderr  # a few steps teach little
    figures = json.loads((out / "result.json").read_text())
    assert (figures["scheme"], len(figures["pairs"])) == ("self", 2)
    assert any(row["name"].startswith("exit") for row in figures["comparison"])
    # The exits were to stay; the adapters of the hints were not.
    names = {name.split(".")[0] for name in load_file(out / "student.safetensors")}
    assert names == {"module", "heads"}
    again = here("evaluate", f"run:{out}", "--data", TEACHER)
    assert again.returncode == 0, again.stderr
    assert "exit 1" in again.stdout
    assert "Compute" in again.stdout
    # Who learns on leaves the old exits behind, and comes back from its own run.
    for number, more in enumerate(((), ("--scheme", "self"), words[:4])):
        further = tmp_path / f"further_{number}"
        done = here("distill", TEACHER, f"run:{out}", *more, "--steps", 2, "--out", further, *QUICK)
        assert done.returncode in (0, FAILED), done.stderr
        again = here("evaluate", f"run:{further}", "--data", TEACHER)
        assert again.returncode == 0, again.stderr
        assert ("exit 1" in again.stdout) == (more == words[:4])


def test_two_processes_share_a_run_and_speak_once(tmp_path):
    out = tmp_path / "run"
    words = ("--steps", 4, "--devices", 2, "--device", "cpu", "--out", out, *QUICK)
    done = dfkd("distill", TEACHER, STUDENT, *words)
    assert done.returncode in (0, FAILED), done.stderr  # a few steps teach little
    assert json.loads((out / "manifest.json").read_text())["processes"] == 2
    assert done.stdout.count(str(out / "grid.png")) == 1


@pytest.mark.parametrize("size", ["--set=alternation.batch_size=31", "--batch-size=31"])
def test_processes_share_evenly_or_none_is_started(tmp_path, capsys, size):
    from dfkd.cli import main

    words = ["--steps", "4", "--devices", "2", "--device", "cpu", size]
    assert main(["distill", TEACHER, STUDENT, *words, "--out", str(tmp_path / "run")]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dfkd: ")]
    assert told == [
        "dfkd: 2 processes cannot share 31 images evenly: --set alternation.batch_size to a "
        "multiple of 2"
    ]
    assert not (tmp_path / "run").exists()


def test_invert_writes_lossless_pictures(tmp_path):
    out = tmp_path / "pictures"
    done = dfkd("invert", TEACHER, "--classes", "1,7", "--count", 3, "--steps", 5, "--out", out)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (out / "images").iterdir())
    assert names == ["00000_class1.png", "00001_class7.png", "00002_class1.png"]
    assert 0 <= json.loads((out / "result.json").read_text())["own_top1"] <= 1


def test_pictures_that_cannot_be_kept_are_refused_at_the_first_step(tmp_path, capsys):
    from dfkd.cli import main

    (tmp_path / "file").touch()
    words = ["--classes", "1", "--count", "1", "--steps", "2", "--compile", "off"]
    assert main(["invert", TEACHER, *words, "--out", str(tmp_path / "file" / "pictures")]) == 2
    assert "cannot be written (Not a directory); choose another" in capsys.readouterr().err


def test_a_teacher_without_statistics_is_told_what_it_can_have(tmp_path, capsys):
    from dfkd.cli import main

    plain = tmp_path / "plain.py"
    plain.write_text(
        "from torch import nn\n"
        "def teacher(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    words = [f"{plain}:teacher", "--image", "1x8x8", "--classes", "1"]
    assert main(["invert", *words, "--out", str(tmp_path / "out")]) == 2
    assert "distil or synthesize with --method drawings" in capsys.readouterr().err


def test_probe_and_recipes_and_bench(here):
    assert "yes" in here("probe", TEACHER).stdout
    listed = here("recipes").stdout
    assert all(name in listed for name in ("default", "nayer", "deep_inversion_imagenet_0"))
    assert "g_steps: 40" in here("recipes", "nayer_published").stdout
    words = ("--model", TEACHER, "--batch-size", 8, "--rounds", 3, "--compile", "off")
    bench = here("bench", "step", *words)
    figures = json.loads(bench.stdout.splitlines()[-1])
    assert figures["variants"][0]["ratio"] == 1.0
    assert [row["name"] for row in figures["variants"]][-1] == "published way"
    words = ("--model", TEACHER, "--student", STUDENT, "--batch-size", 8, "--rounds", 2)
    bench = here("bench", "distill", *words)
    assert len(json.loads(bench.stdout.splitlines()[-1])["variants"]) == 4, bench.stderr
    bench = here("bench", "methods", *words)
    figures = json.loads(bench.stdout.splitlines()[-1])
    names = {row["name"].split(",")[0] for row in figures["variants"]}
    assert names == set(METHODS) - {"smi"}, bench.stderr
    assert "transformer" in figures["left_out"]["smi"]
    bench = here("bench", "speed")
    assert bench.returncode == 2
    assert "scaling" in bench.stderr
    layers = here("probe", TEACHER, "--layers").stdout
    assert layers.count(" yes") >= 6, layers


def test_ctrl_c_saves_and_resume_continues(tmp_path):
    out = tmp_path / "run"
    words = ("distill", TEACHER, STUDENT, "--method", "drawings", "--steps", 400, "--out", out)
    process = subprocess.Popen(
        [sys.executable, "-m", "dfkd", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists() or not (out / "metrics.jsonl").read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    steps = torch.load(out / "checkpoint" / "last.pt", weights_only=True)["account"]["steps"]
    assert 0 < steps < 400
    done = dfkd(*words[:-2], "--out", out, "--resume", "--steps", steps + 2)
    assert done.returncode in (0, 3), done.stderr  # a few steps may have taught nothing
    assert json.loads((out / "result.json").read_text())["student_steps"] == steps + 2


BAD = {
    "no command": ((), "name a command: demo, "),
    "unknown command": (("distil", "x"), "distill"),
    "unknown option of none": (("--version",), "dfkd has no option --version"),
    "unknown option": (
        ("distill", TEACHER, STUDENT, "--mintues=1"),
        "distill has no option --mintues; did you mean --minutes?",
    ),
    "nothing to invert": (
        ("invert",),
        "invert wants TEACHER, --classes INT,INT... and --out DIR; see dfkd invert --help",
    ),
    "nothing to measure": (("evaluate",), "evaluate wants MODEL ... and --data DATA;"),
    "no number": (
        ("distill", TEACHER, STUDENT, "--minutes", "five"),
        "--minutes wants a number, not 'five'",
    ),
    "no whole number": (("demo", "--seed=1.5"), "--seed wants a whole number, not '1.5'"),
    "no value": (("distill", TEACHER, STUDENT, "--eval"), "--eval wants DATA"),
    "no numbers": (
        ("probe", TEACHER, "--mean", "grey", "grey"),
        "--mean wants numbers, not 'grey grey'",
    ),
    "a word too many": (("probe", TEACHER, STUDENT), "probe has no use for 'dfkd.networks:vgg"),
    "spaces for commas": (("invert", TEACHER, "--classes", "1", "7"), "commas: --classes 1,7"),
    "spaces between methods": (
        ("compare", TEACHER, STUDENT, "--methods", "default", "nayer"),
        "commas: --methods default,nayer",
    ),
    "knowledge compared": (
        ("compare", TEACHER, STUDENT, "--knowledge", "kd"),
        "use --vary knowledge --only 'kd'",
    ),
    "scheme compared": (("compare", TEACHER, STUDENT, "--scheme"), "--vary scheme --only 'X'"),
    "unknown method": (("distill", TEACHER, STUDENT, "--method", "nayr"), "nayer"),
    "unknown key": (("distill", TEACHER, STUDENT, "--set", "distiller.lrr=1"), "lr"),
    "negative budget": (("distill", TEACHER, STUDENT, "--minutes", "-1"), "positive"),
    "zero budget": (("distill", TEACHER, STUDENT, "--steps", "0"), "positive"),
    "NaN budget": (("distill", TEACHER, STUDENT, "--minutes", "nan"), "positive"),
    "both budgets": (("distill", TEACHER, STUDENT, "--minutes", "1", "--steps", "1"), "either"),
    "no such teacher": (("distill", "bundled:digits_vg", STUDENT), "digits_vgg"),
    "no such factory": (("distill", TEACHER, "dfkd.networks:vg"), "vgg"),
    "class counts": (("distill", TEACHER, STUDENT + "&num_classes=7"), "class"),
    "channels": (("distill", TEACHER, STUDENT + "&in_channels=3"), ""),
    "class index": (("invert", TEACHER, "--classes", "99", "--count", "1"), "99"),
    "class words": (("invert", TEACHER, "--classes", "cat", "--count", "1"), "indices"),
    "no such data": (("distill", TEACHER, STUDENT, "--eval", "npz:none.npz"), "none.npz"),
    "knowledge": (("distill", TEACHER, STUDENT, "--knowledge", "kd + att"), "column 6"),
    "negative weight": (("distill", TEACHER, STUDENT, "--knowledge", "kd + -1*at"), "column 6"),
    "pair": (("distill", TEACHER, STUDENT, "--pair", "layer3=layer2"), "teacher.LAYER"),
    "no such layer": (
        ("distill", TEACHER, STUDENT, "--knowledge", "at", "--pair", "teacher.x=student.stages.0"),
        "no layer 'x' in the teacher",
    ),
    "pair of nothing": (
        ("distill", TEACHER, STUDENT, "--pair", "teacher.head=student.head"),
        "the knowledge compares none",
    ),
    "unknown scheme": (("distill", TEACHER, STUDENT, "--scheme", "onlin"), "online"),
    "unknown form": (
        ("distill", TEACHER, STUDENT, "--scheme", "self", "--set", "scheme_config.form=x"),
        "exits or generations",
    ),
    "exits of no self": (("distill", TEACHER, STUDENT, "--exits", "keep"), "--scheme self"),
    "one teacher": (("distill", TEACHER, STUDENT, "--scheme", "ensemble"), "--teachers"),
    "teachers of no ensemble": (("distill", TEACHER, STUDENT, "--teachers", TEACHER), "ensemble"),
    "images and a method": (
        ("distill", TEACHER, STUDENT, "--images", TEACHER, "--method", "nayer"),
        "leave --method out",
    ),
    "both flags": (("distill", TEACHER, STUDENT, "--resume", "--overwrite"), "give one of them"),
    "nothing to recompute": (
        ("distill", TEACHER, STUDENT, "--method", "drawings", "--recompute"),
        "this run makes none: leave it out",
    ),
    "one mean a channel": (
        ("probe", TEACHER, "--mean", "0.5", "0.5", "0.5"),
        "mean needs one finite number a channel (1), not (0.5, 0.5, 0.5)",
    ),
    "no such images": (("distill", TEACHER, STUDENT, "--images", "npz:none.npz"), "none.npz"),
    "images of another size": (
        ("distill", TEACHER, STUDENT, "--images", "bundled:fashion_resnet20"),
        "1x28x28",
    ),
    "critic without images": (
        (
            "distill",
            TEACHER,
            STUDENT,
            "--scheme",
            "adversarial",
            "--set",
            "scheme_config.form=images",
        ),
        "--images",
    ),
    "an attack of no size": (
        ("distill", "bundled:digits_vg", STUDENT, "--eval", TEACHER, "--epsilon", "0"),
        "--epsilon must be in (0, 1], not 0.0",
    ),
    "an attack on nothing": (
        ("distill", "bundled:digits_vg", STUDENT, "--epsilon", "0.1"),
        "give --eval",
    ),
    "too large an attack": (
        ("evaluate", "bundled:digits_vg", "--data", TEACHER, "--epsilon", "8"),
        "epsilon is a change of values",
    ),
    "bad device": (("distill", TEACHER, STUDENT, "--device", "tpu"), "tpu"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_one_line_and_leave_nothing(case, tmp_path, capsys, monkeypatch):
    from dfkd.cli import main

    monkeypatch.chdir(tmp_path)
    words, hint = BAD[case]
    needs_out = len(words) > 1 and words[0] in ("distill", "invert", "compare")
    assert main([*words, *(("--out", "run") if needs_out else ())]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("dfkd: ")
    assert hint in errors
    assert errors.count("\n") <= 6
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "seed"),
    [
        (("distill", TEACHER, STUDENT, "--set", "seed=5"), 5),
        (("distill", TEACHER, STUDENT, "--seed", "3"), 3),
        (("distill", TEACHER, STUDENT), 0),
        (("demo", "--set", "seed=5", "--set", "init=random"), 5),
    ],
)
def test_what_the_recipe_says_stands_unless_an_option_says_otherwise(
    words, seed, tmp_path, monkeypatch
):
    from dfkd.cli import main
    from dfkd.errors import DfkdError
    from dfkd.runs import distillation

    def note(teacher, student, recipe, **_):
        assert recipe.seed == seed
        assert recipe.init == ("random" if "init=random" in words else "auto")
        raise DfkdError("noted")

    monkeypatch.setattr(distillation, "distill", note)
    assert main([*words, "--out", str(tmp_path / "run")]) == 2


def test_a_plain_run_is_measured_under_attack_as_well(tmp_path, capsys):
    from dfkd.cli import main

    few, data = tmp_path / "few.npz", load_data(TEACHER)
    np.savez(few, images=data.images[:40, 0].numpy(), labels=data.labels[:40].numpy())
    words = ["--method", "drawings", "--steps", "2", "--eval", f"npz:{few}", "--epsilon", "0.1"]
    run = ["--out", str(tmp_path / "run")]
    assert main(["distill", TEACHER, STUDENT, *words, *run]) in (
        0,
        FAILED,
    )
    assert "PGD-20: 40 images, epsilon 0.1" in capsys.readouterr().out
    rows = json.loads((tmp_path / "run" / "result.json").read_text())["comparison"]
    assert all("robust_accuracy" in row for row in rows)


def test_a_mistake_is_one_line_and_without_tyros_events_too(monkeypatch, capsys):
    from dfkd.cli import main

    assert main(["compare", TEACHER, STUDENT]) == 2
    said = capsys.readouterr().err
    assert said == "dfkd: compare wants TEACHER, STUDENT and --out DIR; see dfkd compare --help\n"
    assert main(["distill", TEACHER, STUDENT, "--out", "x", "--set"]) == 2
    assert capsys.readouterr().err == "dfkd: --set wants KEY=VALUE\n"
    monkeypatch.delattr("tyro._errors")  # private to tyro, and free to go
    assert main(["compare", TEACHER, STUDENT]) == 2
    said = capsys.readouterr().err
    assert said == "dfkd: these words make no command; see dfkd compare --help\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_line_and_a_plain_word(command, capsys):
    with pytest.raises(SystemExit):
        _parse([command, "--help"])
    told = capsys.readouterr().out
    assert "{None}" not in told
    assert "[STR [STR" not in told
    assert "Show the traceback" in told
    assert ("torchvision:NAME" in told and "npz:FILE" in told) == (command == "distill")


def test_seeds_stand_between_spaces_or_commas():
    for given in (["0,1"], ["0", "1"], ["0,", "1"]):
        assert _parse(["compare", "t", "s", "--out", "x", "--seeds", *given]).seeds == (0, 1)
    assert _parse(["compare", "t", "s", "--out", "x"]).seeds == (0, 1, 2)


def test_malformed_configuration_and_data(tmp_path, capsys):
    from dfkd.cli import main

    config, data = tmp_path / "c.yaml", tmp_path / "d.npz"
    out = str(tmp_path / "run")
    config.write_text("!!python/object/apply:os.system ['true']")
    assert main(["distill", TEACHER, STUDENT, "--config", str(config), "--out", out]) == 2
    config.write_text("distiller: {temprature: 4}")
    assert main(["distill", TEACHER, STUDENT, "--config", str(config), "--out", out]) == 2
    assert "temperature" in capsys.readouterr().err
    np.savez(data, images=np.zeros((3, 5, 5), np.uint8), labels=np.zeros(3, np.int64))
    assert main(["distill", TEACHER, STUDENT, "--eval", f"npz:{data}", "--out", out]) == 2
    data.write_bytes(b"PK not really")
    assert main(["distill", TEACHER, STUDENT, "--eval", f"npz:{data}", "--out", out]) == 2
    assert not (tmp_path / "run").exists()


def test_what_is_compared_is_said_before_the_training(tmp_path, capsys):
    from dfkd.cli import main

    words = ["--knowledge", "kd + hint", "--steps", "3", "--out", str(tmp_path / "run"), *QUICK]
    assert main(["distill", TEACHER, STUDENT, *words]) in (0, FAILED)
    told = capsys.readouterr().out
    assert 0 <= told.index("compared: teacher.") < told.index("Distilling")
    assert told.count("compared: ") == 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "read or write: No space left on device"),
        (PermissionError(13, "Permission denied", "/a/b"), "of /a/b: Permission denied"),
        (UnicodeEncodeError("ascii", "\u2026", 0, 1, "ordinal not in range"), "PYTHONUTF8=1"),
        (MemoryError(), "memory is spent: --batch-size auto"),
    ],
)
def test_what_the_system_refuses_is_one_line(error, says, monkeypatch, capsys):
    from dfkd.cli import dispatch, main

    def fail(command):
        raise error

    monkeypatch.setattr(dispatch, "run", fail)
    assert main(["recipes"]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    with pytest.raises(type(error)):
        main(["recipes", "--debug"])


def test_a_seed_that_no_generator_takes_is_one_line(capsys, tmp_path):
    from dfkd.cli import main

    words = ["distill", "bundled:digits_vgg", "dfkd.networks:vgg", "--out", str(tmp_path / "run")]
    assert main([*words, "--seed", str(10**30)]) == 2
    assert "--seed must lie between" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error():
    words = [sys.executable, "-m", "dfkd", "recipes"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
