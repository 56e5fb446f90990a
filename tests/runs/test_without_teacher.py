"""A written dataset in the TEACHER's place: what it stands in for, and what it says it does not."""

import pytest
import torch

import dfkd
from dfkd.cli.entry import main
from dfkd.errors import DfkdError
from dfkd.runs.doctor import Watch
from dfkd.runs.record import RunRecord
from dfkd.runs.symptoms import SYMPTOMS, find_symptoms
from dfkd.runs.without_teacher import check_without_teacher
from dfkd.teacher.absent import AbsentTeacher
from dfkd.teacher.spec import ImageSpec


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learner": {"knowledge": "kd + hint"}}, "hint of `knowledge` looks into the teacher"),
        ({"learner": {"knowledge": "rkd"}}, "rkd of `knowledge` looks into"),
        ({"scheme": "ensemble"}, "the scheme ensemble takes several teachers"),
        ({"scheme": "cross_modal"}, "the scheme cross_modal takes"),
        ({"scheme": "adversarial", "scheme_config": {"form": "features"}}, "looks into it"),
        ({"scheme": "adversarial", "scheme_config": {"form": "images"}}, "made on the way"),
        ({"init": "teacher"}, "no weights to start from"),
        ({"learner": {"knowledge": "kd + dkd"}}, ""),
        ({"scheme": "online"}, ""),
        ({"scheme": "robust"}, ""),
    ],
)
def test_what_asks_the_teacher_is_refused_before_any_work(settings, said, tiny_student):
    recipe = dfkd.recipe("default", **settings)
    teacher = AbsentTeacher(ImageSpec(1, 8, 8), "abcd")
    if not said:
        check_without_teacher(recipe, teacher, tiny_student)
        return
    with pytest.raises(DfkdError, match=said) as error:
        check_without_teacher(recipe, teacher, tiny_student)
    assert len(str(error.value)) <= 300
    assert "the set as `images`" in str(error.value)


COMMANDS = [
    ("probe", "{}"), ("invert", "{}", "--classes", "1", "--out", "o"),
    ("synthesize", "{}", "--per-class", "1", "--out", "o"), ("visualize", "{}", "--out", "o"),
    ("evaluate", "{}", "{}", "--data", "bundled:digits_vgg"),
    ("compare", "{}", "bundled:digits_vgg", "--eval", "bundled:digits_vgg", "--out", "o"),
    ("distill", "bundled:digits_vgg", "{}", "--out", "o"),
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=[words[0] for words in COMMANDS])
@pytest.mark.parametrize("kind", ["set", "folder", "npz", "idx"])
def test_data_where_a_model_is_wanted_is_told_as_such(words, kind, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main([word.format(f"{kind}:some/where") for word in words]) == 2
    said = capsys.readouterr().err
    assert f"'{kind}:some/where' is DATA, and a MODEL is wanted here" in said
    assert ("sets stand in for the TEACHER of dfkd distill" in said) == (kind == "set")
    assert len(said) <= 320
    assert not list(tmp_path.iterdir())


HEALTH = {
    "duplicates": 0.9, "saturated": 1.0, "student_classes": 3, "teacher_classes": 3,
    "agreement_training": 0.5, "agreement": 0.5, "gaps": {"norm": 2.0}, "confidence": 0.5,
}  # fmt: skip


def test_images_that_were_given_have_not_collapsed():
    result = {"class_counts": [600] + [0] * 9, "health": dict(HEALTH)}
    rows = [{"step": 200.0, "seconds": 1.0}]
    for given in (False, True):
        found = find_symptoms(RunRecord(rows, (), 1.0, result, {}, None, given))
        told = " ".join(one.line() for one in found)
        assert ("synthesis has collapsed" in told) != given
        assert ("method=default" in told) != given
        assert ("rate is too high" in told) != given
        assert "images of few classes" in told
        assert "duplicates" in told


def test_a_run_says_that_its_images_were_given():
    said = []
    watch = Watch(said.append)
    watch.on_start({"images_given": True})
    watch.on_log(0.5, 100, {}, [600] + [0] * 9)
    assert "that were given" in said[0]


def test_no_remedy_for_given_images_is_of_synthesis():
    for row in SYMPTOMS.values():
        cause, remedy = (row.given or ("", "")) if row.given is not None else row[1:3]
        assert "synthesi" not in cause + remedy, row
        assert "method=" not in remedy, row


def test_an_absent_teachers_own_words_name_what_is_true():
    with pytest.raises(DfkdError, match="the set as `images`"):
        AbsentTeacher(ImageSpec(1, 8, 8), "ab").predict(torch.zeros(1, 1, 8, 8))
