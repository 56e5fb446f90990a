"""``dfkd compare``: runs, resume, refusals, arithmetic, chart and page."""

import io
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html import escape
from html.parser import HTMLParser

import pytest
import torch
from rich.console import Console

from dfkd.cli import main
from dfkd.cli.distill import FAILED
from dfkd.comparison import standings, tally
from dfkd.comparison.page import write_comparison
from dfkd.comparison.tables import standings_tables
from dfkd.comparison.tally import RunKey
from dfkd.comparison.variants import method_names, variants
from dfkd.datasets import LabelledImages
from dfkd.errors import DfkdError
from dfkd.recipes.methods import METHODS
from dfkd.report.grid import write_grid
from dfkd.runs import distillation
from dfkd.runs.distillation import distill
from support.browser import browse, needs_chromium
from support.commands import STUDENT, TEACHER
from support.runs import run, same

QUICK = ("--set", "alternation.batch_size=32", "--curve", "3")


@pytest.fixture
def data():
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    return LabelledImages(images, torch.arange(40) % 4, "noise")


def words(out, *more, methods="default,drawings", steps=6, seeds=(0, 1)):
    return [
        "compare", TEACHER, STUDENT, "--methods", methods, "--steps", str(steps), "--out",
        str(out), "--seeds", *map(str, seeds), "--eval", TEACHER, *QUICK, *more,
    ]  # fmt: skip


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


# Runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A comparison of two methods, by way of the command line."""
    out = tmp_path_factory.mktemp("compare") / "out"
    assert main(words(out)) == 0
    return out


def test_a_comparison_has_its_runs_and_figures(finished):
    record = read(finished / "comparison.json")
    assert [row["method"] for row in record["methods"]] == ["default", "drawings"]
    assert (record["runs"], record["runs_left"], record["classes"]) == (4, 0, 10)
    for row in record["methods"]:
        results = [read(finished / row["method"] / f"seed_{s}" / "result.json") for s in (0, 1)]
        finals = [result["student_accuracy"] for result in results]
        assert row["accuracy"]["values"] == finals
        assert row["accuracy"]["mean"] == pytest.approx(sum(finals) / 2)
        assert row["curve"][-1]["accuracy"] == pytest.approx(row["accuracy"]["mean"])
        assert [point["steps"] for point in row["curve"]] == [2, 4, 6]
        assert all(result["student_steps"] == 6 for result in results)
    assert {"comparison.md", "comparison.html"} <= {path.name for path in finished.iterdir()}


def test_a_run_of_a_comparison_is_the_run_that_distill_makes(finished, tmp_path):
    out = tmp_path / "run"
    alone = ["distill", TEACHER, STUDENT, "--steps", "6", "--seed", "1", "--out", str(out)]
    assert main([*alone, *QUICK[:2]]) in (0, FAILED)  # six steps may teach nothing
    mine, its = out / "student.safetensors", finished / "default" / "seed_1" / "student.safetensors"
    assert mine.read_bytes() == its.read_bytes()


def test_all_methods_of_a_seed_start_alike(tmp_path, monkeypatch):
    starts = []
    original = distillation.distill

    def note(teacher, student, recipe, **options):
        starts.append({name: value.clone() for name, value in student.state_dict().items()})
        return original(teacher, student, recipe, **options)

    monkeypatch.setattr(distillation, "distill", note)
    assert main(words(tmp_path / "out", steps=1)) == 0
    first, second, third, fourth = starts  # seed 0 of both methods, then seed 1 of both
    assert same(first, second)
    assert same(third, fourth)
    assert not same(first, third)


def test_a_method_that_the_teacher_does_not_allow_is_a_row(tmp_path, capsys):
    module = tmp_path / "plain.py"
    module.write_text(
        "from torch import nn\n"
        "def teacher():\n"
        "    layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)\n"
        "    return nn.Sequential(*layers)\n"
    )
    out = tmp_path / "out"
    command = words(out, "--image", "1x8x8", methods="nayer,drawings", steps=2, seeds=(0,))
    command[1] = f"{module}:teacher"
    assert main(command) == 0
    nayer, drawings = read(out / "comparison.json")["methods"]
    assert "drawings" in nayer["refused"]  # the alternative that the message names
    assert nayer["accuracy"] is None
    assert drawings["seeds"] == [0]
    assert nayer["refused"] in capsys.readouterr().out
    assert nayer["refused"].split(";")[0] in (out / "comparison.md").read_text()
    assert not (out / "nayer").exists()


def test_a_comparison_that_is_refused_as_a_whole_leaves_nothing(tmp_path, capsys):
    command = words(tmp_path / "out", "--set", "learner.optimizer=adam", methods="drawings")
    assert main(command) == 2
    assert capsys.readouterr().err.startswith("dfkd: nothing can be compared: no optimizer 'adam'")
    assert list(tmp_path.iterdir()) == []


# Interruption and resume


def test_ctrl_c_tells_how_to_go_on_and_resume_does(tmp_path):
    out = tmp_path / "out"
    command = words(out, methods="drawings,default", steps=240, seeds=(0,))
    process = subprocess.Popen(
        [sys.executable, "-m", "dfkd", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    log = out / "default" / "seed_0" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not log.exists() or not log.read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 130, errors
    assert errors.count("\n") == 1
    assert "--resume" in errors
    record = read(out / "comparison.json")
    assert record["runs_left"] == 1
    assert [bool(row["accuracy"]) for row in record["methods"]] == [True, False]
    state = torch.load(out / "default/seed_0/checkpoint/last.pt", weights_only=True)
    assert state["curve"]["points"] == 3
    stamp = (out / "drawings/seed_0/result.json").stat().st_mtime_ns
    first = log.read_text().splitlines()[0]
    assert main([*command, "--resume"]) == 0
    assert (out / "drawings/seed_0/result.json").stat().st_mtime_ns == stamp
    assert log.read_text().splitlines()[0] == first, "it started again"
    record = read(out / "comparison.json")
    assert record["runs_left"] == 0
    assert [point["steps"] for point in record["methods"][1]["curve"]] == [80, 160, 240]


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_killed_run_goes_on_or_starts_again_and_no_other_does(finished, tmp_path, checkpoint):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    run = out / "default" / "seed_1"
    (run / "result.json").unlink()
    (run / "student.safetensors").unlink()
    if not checkpoint:
        shutil.rmtree(run / "checkpoint")
    others = [path for path in out.glob("*/*/result.json") if run not in path.parents]
    stamps = [path.stat().st_mtime_ns for path in others]
    command = words(out, "--resume")
    assert main(command) == 0
    assert [path.stat().st_mtime_ns for path in others] == stamps
    mine, its = (d / "default/seed_1/student.safetensors" for d in (out, finished))
    assert mine.read_bytes() == its.read_bytes()
    rows = [read(place / "comparison.json")["methods"] for place in (out, finished)]
    assert [row["accuracy"] for row in rows[0]] == [row["accuracy"] for row in rows[1]]


def test_resume_wants_the_same_settings(finished, tmp_path, capsys):
    before = (finished / "comparison.json").read_bytes()
    assert main([*words(finished, steps=7), "--resume"]) == 2
    errors = capsys.readouterr().err
    assert "steps 6, now 7" in errors
    assert errors.count("\n") == 1
    assert main([*words(finished, seeds=(0,)), "--resume"]) == 2
    assert "seeds 0 1, now 0" in capsys.readouterr().err
    assert main([*words(tmp_path / "none"), "--resume"]) == 2
    assert "without --resume" in capsys.readouterr().err
    assert main(words(finished)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (finished / "comparison.json").read_bytes() == before


# Refusals


BAD = {
    "unknown method": (("--methods", "default,nayr"), "nayer"),
    "no method": (("--methods", ","), "--methods"),
    "method twice": (("--methods", "nayer,default,nayer"), "nayer twice"),
    "seed twice": (("--seeds", "3", "1", "3"), "3 twice"),
    "no seeds": (("--seeds",), "seed"),
    "no time": (("--minutes", "0"), "positive"),
    "negative time": (("--minutes", "-2"), "positive"),
    "two budgets": (("--minutes", "1", "--steps", "1"), "either"),
    "no curve": (("--curve", "0"), "--curve"),
    "unknown start": (("--init", "zero"), "--init"),
    "unknown key": (("--methods", "drawings", "--set", "distiller.lrr=1"), "drawings"),
    "a seed of its own": (("--set", "seed=5"), "--seeds"),
    "images and methods": (
        ("--vary", "scheme", "--images", TEACHER, "--methods", "nayer"),
        "leave --methods out",
    ),
    "both flags": (("--resume", "--overwrite"), "one"),
    "bad device": (("--device", "tpu"), "tpu"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_one_line_before_anything_is_loaded(case, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dfkd.cli.common.load_teacher", lambda *_: pytest.fail("loaded"))
    monkeypatch.chdir(tmp_path)
    given, hint = BAD[case]
    assert main(["compare", TEACHER, STUDENT, "--eval", TEACHER, "--out", "out", *given]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("dfkd: ")
    assert errors.count("\n") == 1
    assert hint in errors
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_needs_real_images(tmp_path, capsys):
    assert main(["compare", TEACHER, STUDENT, "--out", str(tmp_path / "out")]) == 2
    assert "--eval" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_overwrite_replaces_comparisons_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("dear")
    assert main(words(tmp_path, "--overwrite")) == 2
    assert "does not look like one" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").exists()


# The plan and the arithmetic


def test_runs_take_all_methods_before_the_next_seed():
    found = tally.runs(["b", "a"], [5, 2])
    assert found == [RunKey("b", 5), RunKey("a", 5), RunKey("b", 2), RunKey("a", 2)]
    assert found[0].folder == "b/seed_5"
    assert method_names("all") == tuple(METHODS)
    with pytest.raises(DfkdError, match="suit nayer"):
        variants("methods", "default,nayer", None, ["synthesizer.drawn=false"])


def result(accuracy, curve=(), seconds=(10.0, 4.0, 5.0), steps=50, updates=2, collapsed=False):
    return {
        "student_accuracy": accuracy, "teacher_accuracy": 0.8, "images_synthesized": 1000,
        "teacher_forwards": 2000, "student_steps": steps, "synthesis_updates": updates,
        "seconds": dict(zip(("total", "synthesis", "distillation"), seconds, strict=True)),
        "collapsed": collapsed,
        "curve": [{"seconds": s, "steps": n, "accuracy": a} for s, n, a in curve],
    }  # fmt: skip


def test_tally_is_what_a_hand_computes():
    results = {
        RunKey("a", 0): result(0.6, [(4.0, 10, 0.2), (10.0, 50, 0.6)]),
        RunKey("a", 1): result(
            0.5, [(6.0, 12, 0.4), (10.0, 50, 0.5)], (20.0, 5.0, 10.0), 40, 4, True
        ),
        RunKey("a", 2): result(0.4, [(5.0, 11, 0.3), (10.0, 50, 0.4)]),
        RunKey("b", 0): result(0.3, [(5.0, 20, 0.1), (10.0, 50, 0.3)], updates=0),
        RunKey("d", 0): result(0.15, [(5.0, 20, 0.1), (9.0, 50, 0.15)]),
    }
    a, b, c, d = tally.tally(
        ("a", "b", "c", "d"), results, {RunKey("c", 0): "no"}, classes=8, limit=12
    )
    # 0.6, 0.5, 0.4: mean 0.5, variance (0.01 + 0 + 0.01) / 2
    assert a["accuracy"]["mean"] == pytest.approx(0.5)
    assert a["accuracy"]["std"] == pytest.approx(0.1)
    assert a["share_of_teacher"]["mean"] == pytest.approx(0.625)
    assert a["share_of_teacher"]["std"] == pytest.approx(0.125)
    assert a["seconds_per_step"] == pytest.approx((0.1 + 0.25 + 0.1) / 3)
    assert a["seconds_per_update"] == pytest.approx((2 + 1.25 + 2) / 3)
    assert a["synthesis_share"] == pytest.approx((0.4 + 0.25 + 0.4) / 3)
    assert a["student_steps"] == pytest.approx(140 / 3)
    assert (a["collapsed"], a["chance"], a["seeds"]) == ([1], False, [0, 1, 2])
    assert a["curve"][0] == {"seconds": 5.0, "steps": 11, "accuracy": pytest.approx(0.3),
                             "std": pytest.approx(0.1)}  # fmt: skip
    # The best other is b with 0.3, which a's mean has at its first point; a's 0.5 nobody has.
    assert (a["seconds_to"], b["seconds_to"], c["seconds_to"], d["seconds_to"]) == (5, *[None] * 3)
    assert b["accuracy"] == {"mean": 0.3, "std": None, "values": [0.3]}
    assert b["seconds_per_update"] is None
    assert (c["accuracy"], c["refused"], c["curve"]) == (None, "no", [])
    assert [row["overran"] for row in (a, b, c, d)] == [True, False, False, False]  # 40/3 s, 10 s
    assert (b["chance"], d["chance"]) == (False, True)  # 1.5 / 8 = 0.1875


def test_words_of_a_row():
    assert standings.plus_minus({"mean": 0.9049, "std": 0.0041}) == "90.5 ± 0.4\u202f%"
    assert standings.plus_minus({"mean": 0.9, "std": None}) == "90.0\u202f%"
    assert standings.moment(0.0123) == "12.3\u202fms"
    assert standings.moment(84) == "1\u202fmin 24\u202fs"
    assert standings.moment(None) == "–"


# The curve of a run


def test_a_curve_ends_with_the_finished_student_and_touches_nothing(
    tiny_teacher, tiny_student, data, tmp_path
):
    bare = run(tiny_teacher, tiny_student, "redraw", evaluation=data, steps=10)
    curved = run(
        tiny_teacher,
        tiny_student,
        "redraw",
        evaluation=data,
        steps=10,
        curve=5,
        out=tmp_path / "r",
    )
    assert same(bare.student.state_dict(), curved.student.state_dict())
    assert bare.figures["curve"] == []
    assert bare.figures["class_counts"] == curved.figures["class_counts"]
    curve = read(tmp_path / "r" / "result.json")["curve"]
    assert [point["steps"] for point in curve] == [2, 4, 6, 8, 10]
    assert curve[-1]["accuracy"] == curved.figures["student_accuracy"]
    assert curve[-1]["seconds"] == curved.figures["seconds"]["total"]
    assert "4 kept on the way" in read(tmp_path / "r" / "manifest.json")["real_data"]["purpose"]
    seconds = [point["seconds"] for point in curve]
    assert seconds == sorted(seconds)


def test_points_of_a_curve_are_the_students_of_their_steps(
    tiny_teacher, tiny_student, data, monkeypatch
):
    from dfkd.evaluation.accuracy import accuracy, predictions

    seen = {}
    from dfkd.distillation.schemes.offline import Offline

    original = Offline.update

    def note(self, batch):
        metrics = original(self, batch)
        logits = predictions(self.finished(), tiny_teacher.spec, data.images)
        seen[self.learners[0].steps] = accuracy(logits, data.labels)
        return metrics

    monkeypatch.setattr(Offline, "update", note)
    found = run(tiny_teacher, tiny_student, "drawings", evaluation=data, steps=12, curve=4)
    curve = found.figures["curve"]
    assert [point["accuracy"] for point in curve] == [seen[point["steps"]] for point in curve]


def test_keeping_a_student_takes_no_time_of_the_run(tiny_teacher, tiny_student, data, monkeypatch):
    from dfkd.runs.accuracy_curve import Curve

    original = Curve.on_mark

    def slow(self, *mark):
        original(self, *mark)
        time.sleep(1.0)

    monkeypatch.setattr(Curve, "on_mark", slow)
    start = time.perf_counter()
    found = run(tiny_teacher, tiny_student, "drawings", evaluation=data, steps=6, curve=3)
    assert time.perf_counter() - start > 2
    assert found.figures["seconds"]["total"] < time.perf_counter() - start - 1  # two were kept


def test_a_curve_goes_on_after_a_resume(tiny_teacher, tiny_student, data, tmp_path, monkeypatch):
    from dfkd.training import engine

    options = {"evaluation": data, "steps": 12, "curve": 6}
    whole = run(tiny_teacher, tiny_student, "redraw", **options)
    original = engine.Engine._distill

    def stop(self, progress):
        original(self, progress)
        if self.account.steps == 7:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(engine.Engine, "_distill", stop)
    out = tmp_path / "run"
    first = run(tiny_teacher, tiny_student, "redraw", out=out, **options)
    assert first.interrupted
    assert first.figures["curve"] == []
    monkeypatch.undo()
    with pytest.raises(DfkdError, match="6 points"):
        run(tiny_teacher, tiny_student, "redraw", out=out, resume=True, **{**options, "curve": 4})
    second = run(tiny_teacher, tiny_student, "redraw", out=out, resume=True, **options)
    for key in ("steps", "accuracy"):
        assert [p[key] for p in second.figures["curve"]] == [p[key] for p in whole.figures["curve"]]


def test_a_curve_needs_real_images(tiny_teacher, tiny_student):
    with pytest.raises(DfkdError, match="evaluation"):
        distill(tiny_teacher, tiny_student, steps=2, curve=3)


# Chart and page

HOSTILE = "<script>alert(1)</script>"
NAMES = ("default", "drawings", "deep_inversion", "nayer", "dafl", "dfad", "zskt", "cmi", "fast",
         "mad", "adi", "pre_dfkd", "softtarget", HOSTILE)  # fmt: skip


def fake_record(seeds=(0, 1, 2), names=NAMES):
    """Fourteen methods whose curves end close together, one of them refused."""
    results = {}
    for place, seed in itertools.product(range(len(names) - 1), seeds):
        final = 0.9 - 0.012 * place + 0.01 * seed if place < 9 else 0.1 + 0.004 * place
        points = [
            (12.0 * (i + 1), 40 * (i + 1), final * (1 - math.exp(-(i + 1) / (1 + place / 3))))
            for i in range(9)
        ]
        found = result(final, [*points, (120.0, 400, final)], (120.0, 40.0 + place, 70.0), 400)
        results[RunKey(names[place], seed)] = {**found, "collapsed": place == 10 and seed == 1}
    reason = "needs stored statistics | use --method drawings"
    rows = tally.tally(names, results, {RunKey(names[-1], 0): reason}, 10)
    return {
        "command": "dfkd compare t 'dfkd.networks:resnet?depth=8' --eval https-less",
        "settings": {"teacher": "t", "student": "s", "minutes": 2.0, "steps": None,
                     "seeds": list(seeds), "methods": list(names), "init": None, "set": []},
        "versions": {"torch": "2.14"}, "hardware": {"cores": 2}, "git": {},
        "teacher_hash": "ab" * 32, "teacher_parameters": 272_186, "student_parameters": 69_242,
        "teacher_accuracy": 0.937, "runs": 42, "runs_left": 2, "methods": rows,
    }  # fmt: skip


class Reader(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for n, v in attributes if n in ("src", "href", "data", "action", "srcset")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(tmp_path):
    for name in NAMES[:5]:
        (tmp_path / name / "seed_0").mkdir(parents=True)
        grid = tmp_path / name / "seed_0" / "grid.png"
        write_grid(grid, torch.rand(16, 1, 8, 8), ["a class"] * 16, columns=8)
    return write_comparison(tmp_path, fake_record())


def test_the_page_is_complete_in_itself(page):
    html = page.read_text(encoding="utf-8")
    reader = Reader(html)
    assert not {"script", "link", "iframe", "object", "embed"} & (set(reader.tags) - {"link"})
    assert reader.tags.count("link") == 1  # the icon, which is empty
    assert all(link.startswith("data:") for link in reader.links)
    assert not re.search(r"https?://|url\(|@import", html)
    assert HOSTILE in reader.text
    assert reader.tags.count("img") == 5
    assert "Not finished: 2 of 42" in reader.text
    assert "Collapsed to one class: adi" in reader.text
    assert "No better than chance" in reader.text
    assert "needs stored statistics" in reader.text
    assert html.count('<g class="curve-') == html.count("<li>") == 13  # chart and legend


def test_tables_for_github_and_terminal():
    record = fake_record()
    lines = standings.markdown(record).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(NAMES)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {14}
    assert table[2].startswith("| default | 91.0 ± 1.0 % |")
    console = Console(width=80, record=True, file=io.StringIO())
    for each in standings_tables(record):
        console.print(each)
    shown = console.export_text()
    assert shown.count("deep_inversion") == 2
    assert "1 of 3" in shown
    assert "…" not in shown


@needs_chromium
def test_labels_in_a_browser_lie_apart_and_within_the_drawing(tmp_path, page):
    dom = framed(
        tmp_path, page, 1100,
        "const all = [...d.querySelectorAll('.label text')].map(e => e.getBBox());"
        "const box = d.querySelector('.chart svg').viewBox.baseVal;"
        "const inside = all.every(b => b.x + b.width <= box.width && b.y >= 0);"
        "const apart = all.every((a, i) => all.every((b, j) => i == j ||"
        " a.y + a.height <= b.y + 2.6 || b.y + b.height <= a.y + 2.6));"
        "document.title = [all.length, inside, apart]",
    )  # fmt: skip
    assert "<title>14,true,true</title>" in dom


@needs_chromium
@pytest.mark.parametrize("width", [375, 1200])
def test_page_in_a_browser_needs_no_horizontal_scroll(tmp_path, page, width):
    dom = framed(
        tmp_path, page, width,
        "const e = d.documentElement; document.title = [e.clientWidth, e.scrollWidth]",
    )  # fmt: skip
    assert f"<title>{width},{width}</title>" in dom


def framed(tmp_path, page, width, script):
    """What a browser has after a frame of that width with the page in it was looked at."""
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<body onload="const d = f.contentDocument; {script}">'
        f'<iframe id="f" style="border:0;width:{width}px;height:800px" '
        f'srcdoc="{escape(page.read_text(encoding="utf-8"))}"></iframe>',
        encoding="utf-8",
    )
    return browse(tmp_path, frame, "--window-size=1300,900", "--dump-dom")


def test_a_budget_without_a_step_is_a_refusal(tmp_path, capsys):
    """A row that says why, not a result, and nothing that a resume would try for ever."""
    out = tmp_path / "out"
    command = ["compare", TEACHER, STUDENT, "--methods", "drawings,default", "--seeds", "0"]
    assert main([*command, "--minutes", "1e-5", "--eval", TEACHER, "--out", str(out)]) == 2
    assert "No step of the student was made" in capsys.readouterr().err
