"""Sets from the first claim to the last byte: exact, shared, killed and gone on with."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

import dfkd
from dfkd.cli import main
from dfkd.datasets.written.shards import shard_name
from dfkd.errors import DfkdError
from support.inversion import teacher

SMALL = {"steps": 6, "shard_size": 4}


def content(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


LEARN = ("nayer",)


@pytest.mark.parametrize("method", ["natural", "sre2l", "cda", "drawings", "redraw", "nayer"])
def test_counts_are_exact_whatever_makes_the_images(tmp_path, method):
    teacher = dfkd.load_teacher("bundled:digits_vgg")
    before = teacher.fingerprint()
    chosen = dfkd.recipe(method, alternation={"warmup_updates": 2}) if method in LEARN else method
    made = dfkd.synthesize(
        teacher, output=tmp_path, method=chosen, count=7, classes=[1, 4, 7], steps=6
    )
    assert made.complete
    data = made.dataset
    labels = data.column("labels")
    assert labels.bincount(minlength=10).tolist() == [0, 3, 0, 0, 2, 0, 0, 2, 0, 0]
    assert [one.count for one in data.manifest.classes] == labels.bincount(minlength=10).tolist()
    assert not data.manifest.real_data_used
    images = teacher.spec.decode(data.column("images"))
    with torch.no_grad():
        answers = teacher(images)
    # A stored answer is the folded teacher's, rounded to half precision.
    assert torch.allclose(data.column("logits").float(), answers, rtol=2e-3, atol=2e-2)
    if method in ("drawings", "redraw", "nayer"):
        assert torch.equal(answers.argmax(1), labels)
        assert len({image.numpy().tobytes() for image in data.column("images")}) == 7
    assert teacher.fingerprint() == before
    assert set(content(tmp_path)) == {"manifest.json", shard_name(0)}


def test_a_class_that_a_method_never_makes_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("dfkd.sets.makers._PATIENCE", 2)
    black = dfkd.load_teacher("bundled:digits_vgg")
    with torch.no_grad():
        list(black.network.parameters())[-1][3] = -1e6
    with pytest.raises(DfkdError, match="takes for class 3"):
        dfkd.synthesize(black, output=tmp_path, method="drawings", per_class=1, steps=2)
    assert not (tmp_path / shard_name(0)).exists()


def test_mixtures_and_teachers_in_turn(tmp_path):
    teachers = [teacher(), teacher()]
    made = dfkd.synthesize(
        teachers, output=tmp_path, per_class=2, mixtures=0.5, seed=5, **SMALL
    ).dataset
    assert [shard.teacher for shard in made.manifest.shards] == [0, 1, 0]
    targets = made.column("targets").float()
    assert torch.allclose(targets.sum(1), torch.ones(12), atol=2e-3)
    assert 0 < int((targets.max(1).values < 0.999).sum()) <= 6
    assert torch.equal(targets.argmax(1), made.column("labels"))


def test_a_teacher_of_other_classes_takes_no_turn(tmp_path):
    with pytest.raises(DfkdError, match="must agree on both"):
        dfkd.synthesize(
            [teacher(), dfkd.load_teacher("bundled:digits_vgg")], output=tmp_path, per_class=1
        )


def test_another_set_is_not_mixed_into_this_one(tmp_path):
    dfkd.synthesize(teacher(), output=tmp_path, per_class=1, **SMALL)
    before = content(tmp_path)
    for change in ({"per_class": 2}, {"per_class": 1, "seed": 1}, {"per_class": 1, "steps": 7}):
        with pytest.raises(DfkdError, match="holds another set") as error:
            dfkd.synthesize(teacher(), output=tmp_path, **(SMALL | change))
        assert len(str(error.value)) <= 300
    other = teacher()
    with torch.no_grad():
        next(other.network.parameters()).add_(0.1)
    with pytest.raises(DfkdError, match="teacher"):
        dfkd.synthesize(other, output=tmp_path, per_class=1, **SMALL)
    assert content(tmp_path) == before
    again = dfkd.synthesize(teacher(), output=tmp_path, per_class=1, **SMALL)
    assert (again.complete, again.made) == (True, 0)
    assert content(tmp_path) == before


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    for output in (tmp_path, dfkd.Output(tmp_path, overwrite=True)):
        with pytest.raises(DfkdError, match=r"`overwrite`|`output`"):
            dfkd.synthesize(teacher(), output=output, per_class=1, **SMALL)
    assert content(tmp_path) == {"thesis.tex": b"all of it"}
    with pytest.raises(DfkdError, match="name it as `output`"):
        dfkd.synthesize(teacher(), output=dfkd.Output(), per_class=1)


def test_overwriting_replaces_the_set(tmp_path):
    dfkd.synthesize(teacher(), output=tmp_path, per_class=2, **SMALL)
    made = dfkd.synthesize(
        teacher(), output=dfkd.Output(tmp_path, overwrite=True), per_class=1, **SMALL
    )
    assert len(made.dataset) == 6
    assert len(content(tmp_path)) == 1 + made.shards


WORDS = ("bundled:digits_vgg", "--per-class", "3", "--shard-size", "3", "--steps", "25")


def start(directory, *words):
    command = [sys.executable, "-m", "dfkd", "synthesize", *WORDS, "--out", str(directory), *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(directory):
    """Do in this process what ``start`` does in another."""
    return main(["synthesize", *WORDS, "--out", str(directory)])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole") / "set"
    assert finish(directory) == 0
    return directory


def until_killed(directory, pick):
    """Kill a run after some time of work, and let another one finish."""
    process = start(directory)
    while process.poll() is None and not (directory / "manifest.json").exists():
        time.sleep(0.01)
    time.sleep(pick.uniform(0, 0.6))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert finish(directory) == 0


def test_a_killed_run_comes_to_the_same_bytes(tmp_path, uninterrupted):
    until_killed(tmp_path / "set", random.Random(0))
    assert content(tmp_path / "set") == content(uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_run_killed_at_a_random_moment_comes_to_the_same_bytes(tmp_path, uninterrupted, seed):
    until_killed(tmp_path / "set", random.Random(seed))
    assert content(tmp_path / "set") == content(uninterrupted)


@pytest.mark.slow
def test_three_shells_make_the_set_of_one(tmp_path, uninterrupted):
    directory = tmp_path / "set"
    shells = [start(directory) for _ in range(3)]
    assert [shell.wait() for shell in shells] == [0, 0, 0]
    assert content(directory) == content(uninterrupted)


def test_two_processes_of_one_command_replace_a_set_once(tmp_path, uninterrupted):
    directory = tmp_path / "set"
    dfkd.synthesize(teacher(), output=directory, per_class=1, **SMALL)
    assert start(directory, "--devices", "2", "--overwrite").wait() == 0
    assert content(directory) == content(uninterrupted)


def test_an_interrupted_run_says_what_is_there(tmp_path, uninterrupted):
    directory = tmp_path / "set"
    process = start(directory)
    while not (directory / shard_name(0)).exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    if process.returncode:  # the last shard may have been done by then
        assert process.returncode == 130
        assert b"goes on" in errors
    assert finish(directory) == 0
    assert content(directory) == content(uninterrupted)


def test_a_set_that_others_have_finished_is_closed(tmp_path, uninterrupted, capsys):
    directory = tmp_path / "set"
    shutil.copytree(uninterrupted, directory)
    closed = (directory / "manifest.json").read_text()
    begun = closed.replace('"complete": true', '"complete": false')
    (directory / "manifest.json").write_text(begun)
    (directory / "shards" / "00000.safetensors.abcdefgh.part").write_bytes(b"killed")
    assert main(["dataset", "merge", str(directory)]) == 0
    assert content(directory) == content(uninterrupted)
    os.remove(directory / shard_name(1))
    assert main(["dataset", "merge", str(directory)]) == 2
    assert "lacks 1 of 10 shards" in capsys.readouterr().err


@pytest.mark.parametrize("access", ["probs", "top1"])
def test_a_set_of_an_api_counts_what_it_asks_and_says_what_it_saw(tmp_path, access):
    def seen(**told):
        return dfkd.load_teacher(
            "bundled:digits_vgg", access=access, ledger=tmp_path / "ledger", **told
        )

    asked = {"method": "drawings", "per_class": 1, "classes": [1, 7], "shard_size": 1}
    made = dfkd.synthesize(seen(), output=tmp_path / "set", **asked)
    (account,) = made.queries
    assert 0 < account["counted"] < 2_000  # a student's steps would have asked 500 times as often
    assert made.dataset.manifest.recipe["access"] == [access]
    assert made.dataset.column("labels").tolist() == [1, 7]
    # Made again it costs nothing: what was paid is in the ledger.
    again = dfkd.synthesize(seen(), output=dfkd.Output(tmp_path / "again"), **asked)
    assert again.queries[0]["counted"] == 0
    assert torch.equal(again.dataset.column("images"), made.dataset.column("images"))
    with pytest.raises(DfkdError, match="holds another set"):
        dfkd.synthesize(dfkd.load_teacher("bundled:digits_vgg"), output=tmp_path / "set", **asked)
    with pytest.raises(DfkdError, match="more images to ask about"):
        dfkd.synthesize(seen(queries=20), output=tmp_path / "other", **asked)


def test_several_processes_of_a_command_do_not_share_an_account(tmp_path):
    words = ["synthesize", "bundled:digits_vgg", "--per-class", "1", "--method", "drawings"]
    assert main([*words, "--access", "probs", "--devices", "2", "--out", str(tmp_path / "s")]) == 2
    assert not (tmp_path / "s").exists()


def test_a_damaged_set_of_an_api_is_mended_from_its_answers(tmp_path, capsys):
    words = ["--method", "drawings", "--per-class", "1", "--shard-size", "5", "--access", "probs"]
    assert main(["synthesize", "bundled:digits_vgg", *words, "--out", str(tmp_path / "set")]) == 0
    assert "counted" in capsys.readouterr().out
    whole = content(tmp_path / "set")
    (tmp_path / "set" / shard_name(1)).write_bytes(b"gone")
    assert main(["dataset", "check", str(tmp_path / "set"), "--repair"]) == 0
    assert content(tmp_path / "set") == whole
    words = ["--teacher", "bundled:digits_vgg"]
    assert main(["dataset", "check", str(tmp_path / "set"), *words]) == 0
    assert main(["dataset", "card", str(tmp_path / "set")]) == 0
    assert "| teacher, seen of its answers | `probs` |" in (tmp_path / "set/card.md").read_text()
