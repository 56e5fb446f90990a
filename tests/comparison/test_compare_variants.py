"""``dfkd compare --vary knowledge|scheme`` from end to end, and accuracy under attack in it."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from dfkd.cli import main
from dfkd.comparison import standings
from dfkd.comparison.setup import find_epsilon
from dfkd.comparison.tables import standings_tables
from dfkd.comparison.variants import variants
from dfkd.datasets import load_data
from support.commands import STUDENT, TEACHER

BATCH = ("--set", "alternation.batch_size=16")
MAKING = (
    "--set", "alternation.warmup_updates=1", "--set", "synthesizer.draws=16", "--set",
    "synthesizer.refine_batch=8", "--set", "synthesizer.refine_steps=1",
)  # fmt: skip
QUICK = (*BATCH, *MAKING)


SURE = """
import torch
from torch import nn

class Sure(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("logits", torch.tensor([9e3] + 9 * [0.0]))

    def forward(self, x):
        return self.logits + 0 * x.flatten(1).sum(1, keepdim=True)

sure = Sure
"""


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Sixty test images: an attack on all of them takes long."""
    data, path = load_data(TEACHER), tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(path, images=data.images[:60, 0].numpy(), labels=data.labels[:60].numpy())
    return f"npz:{path}"


def compare(out, data, *words):
    command = ["compare", TEACHER, STUDENT, "--out", out, "--eval", data, "--steps", 2]
    quick = BATCH if "--images" in words else QUICK
    command += ["--seeds", 0, "--curve", 1, *quick, *words]
    assert main([str(word) for word in command]) == 0
    return json.loads((out / "comparison.json").read_text())


def test_kinds_of_knowledge_side_by_side(tmp_path, few, capsys):
    sums = ("kd", "kd + 1*hint", "kd + 25*rkd")
    out = tmp_path / "out"
    record = compare(out, few, "--vary", "knowledge", "--only", ",".join(sums))
    assert [row["method"] for row in record["methods"]] == list(sums)
    for row in record["methods"]:
        assert row["seeds"] == [0], row["refused"]
        assert row["step_bytes"] > 0
        assert row["robust_accuracy"] is None
    results = [json.loads(path.read_text()) for path in sorted(out.glob("*/seed_0/result.json"))]
    assert sorted(result["knowledge"] for result in results) == sorted(sums)
    told = capsys.readouterr().out
    assert "Knowledge" in told
    assert "PGD" not in told
    text = (out / "comparison.md").read_text()
    assert "Step’s memory is the peak" in text
    assert "Step’s memory is the peak" in (out / "comparison.html").read_text()


def test_every_scheme_side_by_side_and_under_attack(tmp_path, few, capsys):
    out = tmp_path / "out"
    quick = [
        f"--set=scheme_config.{words}" for words in ("epsilon=0.1", "steps=1", "generations=2")
    ]
    record = compare(out, few, "--vary", "scheme", "--teachers", TEACHER, "--images", few, *quick)
    names = [row["method"] for row in record["methods"]]
    assert names == [*variants("scheme", None, None, [], several=True, images=True)]
    assert {"ensemble", "adversarial:images", "robust:ard", "self:generations"} <= set(names)
    assert record["epsilon"] == 0.1
    for row in record["methods"]:
        assert row["seeds"] == [0], row["refused"]
        assert 0 <= row["robust_accuracy"]["mean"] <= row["accuracy"]["mean"] + 0.1
    ensemble = out / "ensemble" / "seed_0"
    manifest = json.loads((ensemble / "manifest.json").read_text())
    assert manifest["further_teachers"] == [TEACHER]
    assert few in manifest["real_data"]["purpose"]
    result = json.loads((ensemble / "result.json").read_text())
    assert all("robust_accuracy" in row for row in result["comparison"])
    told = capsys.readouterr().out
    assert "PGD-20" in told
    assert all(len(line) <= 80 for line in told.splitlines() if "PGD-20" in line)
    for name in ("comparison.md", "comparison.html"):
        text = (out / name).read_text()
        assert "an attack of 20 steps that changes each value by at most 0.1" in text


def row(name, robust=None):
    share = {"mean": 0.9049, "std": 0.0041}
    cost = dict.fromkeys(
        ("images_synthesized", "teacher_forwards", "student_steps", "seconds_per_step",
         "step_bytes", "seconds_per_update", "synthesis_share", "seconds"), 123.4,
    )  # fmt: skip
    return {"method": name, "accuracy": share, "share_of_teacher": share, "seconds_to": 84.0,
            "collapsed": [], "seeds": [0, 1, 2], "chance": False, "overran": False,
            "refused": None, "robust_accuracy": robust and share, **cost}  # fmt: skip


def test_an_ensembles_row_says_what_its_teachers_have(tmp_path, few, capsys):
    # A second teacher that overrules the first and always says 0: the two as one know little.
    (tmp_path / "other.py").write_text(SURE)
    out, uri = tmp_path / "out", f"{tmp_path}/other.py:sure"
    words = ("--vary", "scheme", "--only", "ensemble,offline", "--teachers", uri)
    words += ("--image", "1x8x8")
    record = compare(out, few, *words)
    ensemble, offline = record["methods"]
    assert record["teacher_accuracy"] > 0.9
    assert offline["own_teacher"] is None
    assert ensemble["own_teacher"] < 0.3
    assert "its ensemble of teachers has" in (out / "comparison.md").read_text()
    # Whoever changes a teacher has another comparison.
    (tmp_path / "other.py").write_text(SURE.replace("9e3", "8e3"))
    command = ["compare", TEACHER, STUDENT, "--out", out, "--eval", few, "--steps", 2, "--resume"]
    command += ["--seeds", 0, "--curve", 1, *QUICK, *words]
    assert main([str(word) for word in command]) == 2
    assert "teacher 2 is not the one" in capsys.readouterr().err


@pytest.mark.parametrize("robust", [None, True])
def test_eighty_signs_are_enough(robust):
    record = {"settings": {"vary": "scheme"}, "methods": [row("adversarial:features", robust)]}
    for table in standings_tables(record):
        out = io.StringIO()
        Console(file=out, width=80).print(table)
        text = out.getvalue()
        assert "123" in text or text.count("90.5 ± 0.4 %") == (3 if robust else 2)
    headings, (cells,) = standings.ranks(record)
    assert len(headings) == len(cells)
    assert ("PGD-20" in headings) == bool(robust)


def test_the_attack_is_the_given_one_else_that_of_a_robust_row():
    plans = variants("scheme", None, "offline,robust", ["scheme_config.epsilon=0.125"])
    assert find_epsilon(0.25, plans) == 0.25
    assert find_epsilon(None, plans) == 0.125
    assert find_epsilon(None, {"offline": plans["offline"]}) is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--epsilon", "8"), "epsilon is a change"),
        (("--images", "bundled:digits_vgg"), "--vary knowledge or scheme"),
        (("--teachers", TEACHER), "belongs to the scheme ensemble"),
        (("--vary", "scheme", "--only", "ensemble"), "more than one teacher"),
        (("--vary", "scheme", "--only", "cross_modal"), "scheme_config.height"),
    ],
)
def test_what_cannot_be_compared_is_one_line(words, says, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", TEACHER, STUDENT, "--eval", TEACHER, "--out", str(out), *words]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not out.exists()
