"""What is kept of a set: exact, the best by its rule, whole, and the source as it was."""

import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dfkd
from dfkd.cli import main
from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.drawn_views import draw_views
from dfkd.datasets.written.label_manifest import epoch_name
from dfkd.datasets.written.labels import LabelStore
from dfkd.datasets.written.manifest import ClassEntry, read_manifest, write_manifest
from dfkd.datasets.written.shards import digest, shard_name, write_shard
from dfkd.datasets.written.views import ViewConfig
from dfkd.errors import DfkdError
from dfkd.evaluation.covering import coverage_radius
from dfkd.evaluation.penultimate import look_at
from dfkd.runs.options import Output
from dfkd.sets.check import check_set
from dfkd.sets.labelling import label_set
from dfkd.sets.rules import SelectionOrder, level_shares
from dfkd.sets.selection import compare_rules, select
from support.written import noise, write_set

URI = "bundled:digits_vgg"


def content(directory):
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def teacher():
    return dfkd.load_teacher(URI)


@pytest.fixture(scope="module")
def source(tmp_path_factory, teacher):
    """Six images a class, two of class 3, by two teachers in turn, in five shards."""
    labels = torch.arange(60) % 10
    labels = labels[(labels != 3) | (torch.arange(60) < 20)]
    images = noise(len(labels), 1, 8, 8)
    path = tmp_path_factory.mktemp("made") / "source"
    return write_set(path, teacher, images, labels, shards=5, teachers=2)


@pytest.mark.parametrize("by", ["random", "confidence", "diversity", "both"])
def test_a_selection_is_a_set_of_the_source_s_rows(tmp_path, source, teacher, by):
    before, network = content(source), teacher.fingerprint()
    made = select(source, output=tmp_path / "new", per_class=2, by=by, teacher=teacher, seed=5)
    old, new = WrittenSet(source), made.dataset
    assert new.column("labels").bincount().tolist() == [2] * 10
    assert [one.count for one in new.manifest.classes] == [2] * 10
    # Shards are of one teacher each, so that those of the second one come last.
    owners = torch.tensor([old.manifest.shards[old.place(i)[0]].teacher for i in made.places])
    order = made.places[owners.sort(stable=True).indices]
    wanted = old.rows(order, *old.columns)
    assert new.columns == old.columns
    for name in new.columns:
        assert torch.equal(new.column(name), wanted[name]), name
    kept = [shard.teacher for shard in new.manifest.shards for _ in range(shard.count)]
    assert kept == owners.sort().values.tolist()
    for index, shard in enumerate(new.manifest.shards):
        assert digest(made.directory / shard_name(index)) == shard.sha256
        assert shard.count <= 12
    assert new.manifest.recipe == old.manifest.recipe
    assert new.manifest.teachers == old.manifest.teachers
    assert content(source) == before
    assert teacher.fingerprint() == network
    assert set(tmp_path.iterdir()) == {made.directory}
    again = select(source, output=tmp_path / "twin", per_class=2, by=by, teacher=teacher, seed=5)
    assert content(made.directory) == content(again.directory)


def test_the_manifest_says_where_a_selection_comes_from(tmp_path, source, teacher):
    first = select(source, output=tmp_path / "one", keep=32, by="diversity", teacher=teacher)
    found = first.dataset.manifest.selected
    assert found == {
        "from": digest(source / "manifest.json"), "by": "diversity", "kept": 32, "of": 56,
        "per_class": None, "balanced": True, "seed": 0, "teacher": teacher.fingerprint(),
        "before": None,
    }  # fmt: skip
    second = select(first.directory, output=tmp_path / "two", per_class=1, by="random")
    assert second.dataset.manifest.selected["before"] == found
    assert second.dataset.manifest.selected["teacher"] is None


def test_the_most_confident_of_each_class_are_kept(tmp_path, source):
    made = select(source, output=tmp_path / "new", per_class=2)
    data = WrittenSet(source)
    labels, logits = data.column("labels"), data.column("logits").double()
    own = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    for index in range(10):
        places = (labels == index).nonzero()[:, 0]
        best = places[own[places].argsort(descending=True)[:2]]
        assert set(best.tolist()) <= set(made.places.tolist())
    assert made.figures.confidence >= made.chance.confidence
    assert made.figures.confidence == pytest.approx(float(own[made.places].exp().mean()))
    assert made.figures.vendi is made.figures.radius is None


def test_what_is_diverse_covers_more_than_chance(tmp_path, source, teacher):
    found = compare_rules(source, SelectionOrder(per_class=2), teacher=teacher)
    assert list(found) == ["whole set", "random", "confidence", "diversity", "both"]
    assert found["whole set"].images == 56
    assert found["whole set"].radius == 0
    assert {one.images for name, one in found.items() if name != "whole set"} == {20}
    assert found["diversity"].vendi > found["random"].vendi
    assert found["diversity"].confidence <= found["both"].confidence
    assert found["confidence"].confidence == max(one.confidence for one in found.values())
    data = WrittenSet(source)
    features = look_at(teacher, [data.column("images")]).features
    made = select(source, output=tmp_path / "new", per_class=2, by="diversity", teacher=teacher)
    assert made.figures == found["diversity"]
    assert made.figures.radius == pytest.approx(coverage_radius(features, made.places))
    assert made.chance == found["random"]


def test_without_a_network_only_what_needs_none_is_compared(source):
    found = compare_rules(source, SelectionOrder(keep=20))
    assert list(found) == ["whole set", "random", "confidence"]
    assert found["random"].radius is None


@pytest.mark.parametrize(("keep", "counts"), [(56, None), (52, [6, 6, 6, 2, 6, 6, 5, 5, 5, 5])])
def test_the_total_is_exact_where_a_class_has_too_few(tmp_path, source, keep, counts):
    made = select(source, output=tmp_path / "new", keep=keep, by="random")
    wanted = counts or [one.count for one in read_manifest(source).classes]
    assert [one.count for one in made.dataset.manifest.classes] == wanted


def test_unbalanced_keeps_the_best_of_all(tmp_path, source):
    made = select(source, output=tmp_path / "new", keep=5, unbalanced=True)
    data = WrittenSet(source)
    logits, labels = data.column("logits").double(), data.column("labels")
    own = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    assert sorted(own.argsort(descending=True)[:5].tolist()) == made.places.tolist()
    assert made.dataset.manifest.selected["balanced"] is False


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.data())
def test_shares_are_exact_and_level(counts, data):
    total = data.draw(st.integers(0, sum(counts)))
    shares = level_shares(counts, total)
    assert sum(shares) == total
    for share, count in zip(shares, counts, strict=True):
        assert 0 <= share <= count
        assert share == count or share >= max(shares) - 1


REFUSED = [
    ({"keep": 57}, "`keep` is 57, and the set has 56"),
    ({"per_class": 3}, "class '3' has 2 images"),
    ({"keep": 9}, "10 classes, and `keep` is 9"),
    ({"keep": 0}, r"in \[1, inf\)"),
    ({}, "either `keep` or `per_class`"),
    ({"keep": 20, "per_class": 2}, "either `keep` or `per_class`"),
    ({"per_class": 2, "unbalanced": True}, "`unbalanced` is for `keep`"),
    ({"keep": 20, "by": "diversty"}, "did you mean 'diversity'"),
    ({"keep": 20, "by": "both"}, "`by=both` looks at the features of a network"),
    ({"keep": 20, "seed": -1}, "`seed` must be in"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_cannot_be_selected_is_refused_before_anything_is_written(
    tmp_path, source, settings, message
):
    with pytest.raises(DfkdError, match=message):
        select(source, output=tmp_path / "new", **settings)
    assert not list(tmp_path.iterdir())


def test_the_source_is_no_place_for_the_selection(source, tiny_teacher):
    for place in (source, source / "part"):
        with pytest.raises(DfkdError, match="which is read"):
            select(source, output=Output(place, overwrite=True), keep=20)
    other = dfkd.load_teacher("bundled:fashion_resnet20")
    with pytest.raises(DfkdError, match="takes 1x28x28 images and the set has 1x8x8"):
        select(source, output=source.parent / "new", keep=20, by="diversity", teacher=other)


def test_an_earlier_set_is_replaced_only_when_asked_and_only_at_the_end(
    tmp_path, source, monkeypatch
):
    made = select(source, output=tmp_path / "new", keep=20)
    before = content(made.directory)
    with pytest.raises(DfkdError, match="not empty"):
        select(source, output=tmp_path / "new", keep=30)
    with monkeypatch.context() as patch:
        patch.setattr("dfkd.sets.recut.write_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            select(source, output=Output(tmp_path / "new", overwrite=True), keep=30)
    assert content(made.directory) == before
    assert set(tmp_path.iterdir()) == {made.directory}
    select(source, output=Output(tmp_path / "new", overwrite=True), keep=30)
    assert len(made.dataset) == 30


def spoilt(tmp_path, source, change, **manifest):
    """A copy of a set whose first shard is another, with a manifest that knows it or not."""
    path = select(source, output=tmp_path / "copy", keep=56).directory
    rows = change(WrittenSet(path).shard_rows(0))
    sums = write_shard(path / shard_name(0), rows)
    text = json.loads((path / "manifest.json").read_text())
    if manifest.get("known", True):
        text["shards"][0]["sha256"] = sums
    (path / "manifest.json").write_text(json.dumps(text))
    return path


HOSTILE = [
    (lambda rows: rows | {"labels": rows["labels"] - 100}, True, "labels that are not in 0 to 9"),
    (lambda rows: rows | {"labels": rows["labels"] + 100}, True, "labels that are not in 0 to 9"),
    (lambda rows: rows | {"extra": rows["confidence"].clone()}, True, "other columns|no column"),
    (lambda rows: rows | {"confidence": rows["confidence"] + 1}, False, "not what the manifest"),
]


@pytest.mark.parametrize(("change", "known", "message"), HOSTILE)
def test_a_damaged_source_is_not_handed_on(tmp_path, source, change, known, message):
    path = spoilt(tmp_path, source, change, known=known)
    with pytest.raises(DfkdError, match=message):
        select(path, output=tmp_path / "new", keep=50)
    assert not (tmp_path / "new").exists()


def test_answers_that_are_not_finite_are_the_least_confident(tmp_path, source):
    def change(rows):
        rows["logits"][0] = float("nan")
        return rows

    path = spoilt(tmp_path, source, change)
    made = select(path, output=tmp_path / "new", keep=55, unbalanced=True)
    assert made.places.tolist() == list(range(1, 56))


def test_classes_are_counted_by_their_labels(tmp_path, source):
    """A manifest that exchanges two classes' counts does not pass its mistake on."""
    path = select(source, output=tmp_path / "copy", keep=56).directory
    manifest = read_manifest(path)
    classes = list(manifest.classes)
    classes[0] = ClassEntry("0", None, classes[0].count + 1)
    classes[1] = ClassEntry("1", None, classes[1].count - 1)
    write_manifest(path, type(manifest)(**(vars(manifest) | {"classes": tuple(classes)})))
    made = select(path, output=tmp_path / "new", per_class=2)
    assert [one.count for one in made.dataset.manifest.classes] == [2] * 10


def test_the_command_prints_the_choice_beside_chance(tmp_path, source, capsys):
    words = ["dataset", "select", str(source), "--per-class", "2", "--teacher", URI]
    assert main([*words, "--by", "diversity", "--out", str(tmp_path / "new")]) == 0
    told = capsys.readouterr().out
    assert "random, mean of 3" in told
    assert "20 images, 2 a class" in told
    assert len(WrittenSet(tmp_path / "new")) == 20
    assert main([*words, "--compare"]) == 0
    told = capsys.readouterr().out
    assert "both" in told
    assert "nothing is written" in told
    assert main(words) == 2
    assert "--out" in capsys.readouterr().err


LABELS = [
    (4, 0, ViewConfig(mix=0.5), "of 9 epochs"),
    (8, 3, ViewConfig(mix=0.5), "of 9 epochs"),
    (16, 0, ViewConfig(mix=0.5), "of 9 epochs"),
    (8, 0, ViewConfig(mix=0.0), "labels came along: 9 epochs"),
    (16, 3, ViewConfig(mix=1.0), "left behind"),
]


@pytest.mark.parametrize(("bits", "top_k", "views", "said"), LABELS)
def test_labels_come_along_row_by_row(tmp_path, source, teacher, bits, views, said, top_k):
    shutil.copytree(source, tmp_path / "old")
    data = WrittenSet(tmp_path / "old")
    label_set(data, teacher, epochs=9, bits=bits, views=views, top_k=top_k)
    made = select(data.directory, output=tmp_path / "new", per_class=2, by="random", seed=2)
    assert said in made.labels
    assert check_set(made.directory).sound
    if "left behind" in said:
        assert not (made.directory / "labels.json").exists()
        return
    old, new = LabelStore(data), LabelStore(made.dataset, check=True)
    images = old.read(torch.arange(len(data)))
    sign = {image.numpy().tobytes(): place for place, image in enumerate(images)}
    places = [sign[image.numpy().tobytes()] for image in new.read(torch.arange(20))]
    assert sorted(places) == made.places.tolist()
    for row, place in enumerate(places):
        partners = [int(draw_views(len(data), views, 0, e).partner[place]) for e in range(9)]
        holding = [epoch for epoch, other in enumerate(partners) if other in places]
        assert len(holding) >= new.epochs
        for epoch, was in zip(range(new.epochs), holding, strict=False):
            found = new.batch(epoch, torch.tensor([row]))
            wanted = old.batch(was, torch.tensor([place]))
            assert torch.equal(found[0], wanted[0])
            assert torch.equal(found[1], wanted[1])


def test_unfinished_labels_are_left_behind_and_damaged_ones_told(tmp_path, source, teacher):
    shutil.copytree(source, tmp_path / "old")
    data = WrittenSet(tmp_path / "old")
    assert select(data.directory, output=tmp_path / "0", per_class=2).labels == ""
    label_set(data, teacher, epochs=1, views=ViewConfig(mix=0.0))
    text = (data.directory / "labels.json").read_text()
    (data.directory / "labels.json").write_text(json.dumps(json.loads(text) | {"epochs": [None]}))
    assert "unfinished" in select(data.directory, output=tmp_path / "1", per_class=2).labels
    (data.directory / "labels.json").write_text(text)
    (data.directory / epoch_name(0)).write_bytes(b"rot")
    with pytest.raises(DfkdError, match="is damaged"):
        select(data.directory, output=tmp_path / "2", per_class=2)
    assert not (tmp_path / "2").exists()
