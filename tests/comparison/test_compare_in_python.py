"""``dfkd.compare`` from Python: rows, files, resume, refusals."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import dfkd
from dfkd.networks import vgg
from dfkd.runs import distillation
from support.runs import same


@pytest.fixture
def data():
    return torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8), torch.arange(40) % 4


def small(knowledge="kd"):
    return dfkd.recipe("drawings", alternation={"batch_size": 16}, learner={"knowledge": knowledge})


RECIPES = {"soft": small(), "hard": small("l1")}


def student():
    return vgg((8,), 1, 1, 4)


def test_two_recipes_side_by_side(tiny_teacher, data):
    before = tiny_teacher.fingerprint()
    found = dfkd.compare(
        tiny_teacher, student, RECIPES, seeds=(0, 1), steps=3,
        evaluation=dfkd.Evaluation(data, curve=1),
    )  # fmt: skip
    assert [row["method"] for row in found.rows] == ["soft", "hard"]
    assert [row["seeds"] for row in found.rows] == [[0, 1], [0, 1]]
    means = {row["method"]: row["accuracy"]["mean"] for row in found.rows}
    assert means[found.best] == max(means.values())
    assert (found.record["runs"], found.record["runs_left"]) == (4, 0)
    assert (found.directory, found.interrupted) == (None, False)
    assert tiny_teacher.fingerprint() == before
    (axes,) = found.plot().axes
    assert len(axes.lines) >= 2


def test_a_row_is_what_distill_makes_of_a_copy(tiny_teacher, tiny_student, data, tmp_path):
    start = {name: value.clone() for name, value in tiny_student.state_dict().items()}
    found = dfkd.compare(
        tiny_teacher, tiny_student, RECIPES, seeds=(5,), steps=3, evaluation=data, output=tmp_path
    )
    assert same(start, tiny_student.state_dict())
    plan = replace(RECIPES["hard"], seed=5)
    alone = dfkd.distill(tiny_teacher, tiny_student, plan, steps=3, evaluation=data)
    assert found.rows[1]["accuracy"]["values"] == [alone.metrics.student_accuracy]
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert record == json.loads(json.dumps(found.record))
    assert record["command"] == "Python API"
    assert {"comparison.md", "comparison.html"} <= {path.name for path in tmp_path.iterdir()}


def test_finished_runs_stand(tiny_teacher, data, tmp_path, monkeypatch):
    words = {"seeds": (0,), "steps": 2, "evaluation": data}
    first = dfkd.compare(tiny_teacher, student, RECIPES, output=tmp_path, **words)
    (tmp_path / "hard" / "seed_0" / "result.json").unlink()
    done = []
    original = distillation.distill
    monkeypatch.setattr(
        distillation, "distill", lambda *a, **k: done.append(k["output"].path) or original(*a, **k)
    )
    goes_on = dfkd.Output(tmp_path, resume=True)
    second = dfkd.compare(tiny_teacher, student, RECIPES, output=goes_on, **words)
    assert done == [tmp_path / "hard" / "seed_0"]
    for one, other in zip(first.rows, second.rows, strict=True):
        assert one["accuracy"] == other["accuracy"]
    other = {**RECIPES, "hard": small("mse")}
    with pytest.raises(dfkd.DfkdError, match=r"hard: .*knowledge=l1"):
        dfkd.compare(tiny_teacher, student, other, output=goes_on, **words)


def test_all_variants_of_a_seed_start_alike(tiny_teacher, data, monkeypatch):
    starts = []

    def note(teacher, network, plan, **options):
        starts.append({name: value.clone() for name, value in network.state_dict().items()})
        raise dfkd.DfkdError("`batch_size` is noted")

    monkeypatch.setattr(distillation, "distill", note)
    with pytest.raises(dfkd.DfkdError, match="nothing can be compared: batch_size is noted"):
        dfkd.compare(tiny_teacher, student, RECIPES, seeds=(0, 1), steps=1, evaluation=data)
    assert same(starts[0], starts[1])
    assert same(starts[2], starts[3])
    assert not same(starts[0], starts[2])


def test_a_fault_of_one_run_ends_that_run_alone(tiny_teacher, data, monkeypatch):
    whole = distillation.distill

    def distil(teacher, student, plan, **options):
        if plan.learner.knowledge == "l1":
            raise RuntimeError("boom\nand more")
        return whole(teacher, student, plan, **options)

    monkeypatch.setattr(distillation, "distill", distil)
    found = dfkd.compare(tiny_teacher, student, RECIPES, seeds=(0,), steps=1, evaluation=data)
    by_name = {row["method"]: row for row in found.rows}
    assert by_name["hard"]["refused"] == "fails: RuntimeError: boom"
    assert not by_name["soft"]["refused"]
    assert found.record["failed"]
    assert found.record["runs_left"] == 0


def test_what_the_teacher_does_not_allow_is_a_row(data):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))
    plain = dfkd.Teacher(network, dfkd.ImageSpec(1, 8, 8))
    found = dfkd.compare(
        plain, student, ["nayer", "drawings"], seeds=(0,), steps=1, evaluation=data
    )
    assert found.rows[0]["refused"]
    assert "`" not in found.rows[0]["refused"]
    assert found.best == "drawings"


@pytest.mark.parametrize(
    ("recipes", "options", "says"),
    [
        (RECIPES, {"evaluation": None}, "`evaluation`"),
        ({}, {}, "`recipes`"),
        ([], {}, "`recipes`"),
        ({"..": small()}, {}, "letter"),
        ({"a b": small(), "ab": small()}, {}, "share a folder"),
        (["default", "default"], {}, "default twice"),
        (["nayr"], {}, "nayer"),
        (None, {"vary": "weather"}, "weather"),
        (None, {"images": torch.rand(4, 1, 8, 8)}, "stands in"),
        (RECIPES, {"minutes": 1}, "either in"),
        (RECIPES, {"seeds": ()}, "`seeds`"),
        (RECIPES, {"seeds": (1, 1)}, "1 twice"),
    ],
)
def test_mistakes_are_refused_before_any_run(
    recipes, options, says, tiny_teacher, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(distillation, "distill", lambda *_, **__: pytest.fail("ran"))
    given = {"steps": 1, "evaluation": data, "output": tmp_path / "out", **options}
    with pytest.raises(dfkd.DfkdError, match=says):
        dfkd.compare(tiny_teacher, student, recipes, **given)
    assert not (tmp_path / "out").exists()
