"""Sets and orders as nobody should give them: one line that says what to do, and no harm done."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader

import dfkd
from dfkd.cli.entry import main
from dfkd.datasets.written import SetBatches, WrittenSet, shards
from dfkd.datasets.written.epochs import read_epoch, write_epoch
from dfkd.datasets.written.label_manifest import (
    KEPT,
    LABELS,
    epoch_name,
    read_label_manifest,
    write_label_manifest,
)
from dfkd.datasets.written.labels import LabelStore
from dfkd.datasets.written.manifest import MANIFEST
from dfkd.datasets.written.shards import digest, shard_name
from dfkd.datasets.written.views import ViewConfig
from dfkd.errors import DfkdError
from dfkd.sets.check import check_set
from dfkd.sets.labelling import label_set
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

TEACHER = "bundled:digits_vgg"
STUDENT = "dfkd.networks:resnet?depth=8&widths=(4,8,8)"


@pytest.fixture(scope="module")
def digits():
    return dfkd.load_teacher(TEACHER)


@pytest.fixture(scope="module")
def labelled(digits, tmp_path_factory):
    """A set of twenty images with two epochs of labels, which no test changes."""
    directory = tmp_path_factory.mktemp("sets") / "set"
    made = dfkd.synthesize(digits, output=directory, per_class=2, steps=2)
    label_set(made.dataset, digits, epochs=2)
    return directory


@pytest.fixture
def copy(labelled, tmp_path):
    return shutil.copytree(labelled, tmp_path / "set")


def refused(call):
    with pytest.raises(DfkdError) as error:
        call()
    line = str(error.value)
    assert len(line) <= 300
    assert "\n" not in line
    return line


def change_json(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.fixture(scope="module")
def with_views(labelled, digits, tmp_path_factory):
    """The set with labels of the first version, whose views lie beside the answers."""
    directory = shutil.copytree(labelled, tmp_path_factory.mktemp("first") / "set")
    shutil.rmtree(directory / "labels")
    (directory / LABELS).unlink()
    label_set(WrittenSet(directory), digits, epochs=2, bits=16)
    found, sums = read_label_manifest(directory), []
    for epoch in range(2):
        views, answers = read_epoch(directory, found, epoch, 10)
        sums.append(write_epoch(directory / epoch_name(epoch), answers, views))
    write_label_manifest(directory, replace(found, epochs=tuple(sums), format=KEPT))
    return directory


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("scale", lambda scale: scale * torch.nan),
        ("scale", lambda scale: -scale),
        ("scale", lambda scale: scale.repeat(20)),
        ("codes", lambda codes: codes[:, 1:]),
        ("codes", lambda codes: codes.float()),
        ("logits", lambda _: torch.zeros(20, 10).half()),
        ("box", lambda _: torch.zeros(20, 4).int()),
    ],
)
def test_answers_that_cannot_be_are_refused(copy, column, value):
    check_refused(copy, column, value)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("other_box", lambda box: box * 0 - 1),
        ("other_box", lambda box: box.flip(1)),
        ("other_flip", lambda flip: flip + 2),
        ("other_light", lambda light: light * torch.nan),
        ("box", lambda box: box * 0 + 2**31 - 1),
        ("box", lambda box: box * 0 - 1),
        ("box", lambda box: box.flip(1)),
        ("box", lambda box: box[:, :2]),
        ("patch", lambda patch: patch[:, :1]),
        ("partner", lambda partner: partner * 0 + 20),
        ("partner", lambda partner: partner * 0 - 1),
        ("light", lambda light: light * torch.nan),
        ("light", lambda light: light * torch.inf),
        ("light", lambda light: -light),
        ("light", lambda light: light[:, :1]),
        ("flip", lambda flip: flip + 2),
        ("flip", lambda flip: flip[:, None].repeat(1, 3)),
        ("logits", lambda logits: logits * torch.nan),
        ("logits", lambda logits: logits.int()),
        ("more", lambda _: torch.zeros(20)),
    ],
)
def test_a_label_that_cannot_be_is_refused_though_its_checksum_is_right(
    with_views, tmp_path, column, value
):
    check_refused(shutil.copytree(with_views, tmp_path / "set"), column, value)


def check_refused(copy, column, value):
    """Change a column of an epoch, its checksum as well, and see it refused."""
    path = copy / epoch_name(0)
    columns = {name: tensor.clone() for name, tensor in load_file(path).items()}
    columns[column] = value(columns.get(column)).contiguous()
    save_file(columns, path)
    change_json(copy / LABELS, lambda manifest: manifest["epochs"].__setitem__(0, digest(path)))
    store = LabelStore(WrittenSet(copy))
    assert epoch_name(0) in refused(lambda: store.batch(0, torch.arange(4)))
    store.batch(1, torch.arange(4))
    (found,) = check_set(copy).findings
    assert found.kind == "label file"


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(epochs=[]),
        lambda manifest: manifest.update(epochs=["0" * 64] * 10_001),
        lambda manifest: manifest.update(epochs=10**9),
        lambda manifest: manifest.update(top_k=-5),
        lambda manifest: manifest.update(teacher="another"),
        lambda manifest: manifest["views"].update(crop=5),
        lambda manifest: manifest.update(bits=3),
        lambda manifest: manifest.update(format=0),
        lambda manifest: manifest.update(format="2"),
        lambda manifest: manifest.update(seed=2**63),
        lambda manifest: manifest.update(seed=-1),
    ],
)
def test_a_list_of_labels_that_cannot_be_is_refused(copy, change):
    change_json(copy / LABELS, change)
    assert LABELS in refused(lambda: LabelStore(WrittenSet(copy)))


def test_labels_kept_whole_are_not_read_as_a_few(copy):
    change_json(copy / LABELS, lambda manifest: manifest.update(top_k=3))
    store = LabelStore(WrittenSet(copy))
    assert "codes" in refused(lambda: store.batch(0, torch.arange(4)))


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def test_labelling_again_mends_damaged_labels_and_leaves_the_good(copy, digits):
    before = (copy / epoch_name(0)).read_bytes()
    flip_a_bit(copy / epoch_name(0))
    good = (copy / epoch_name(1)).stat().st_mtime_ns
    assert [one.kind for one in check_set(copy).findings] == ["label file"]
    assert "label again" in refused(lambda: LabelStore(WrittenSet(copy)).batch(0, torch.arange(4)))
    label_set(WrittenSet(copy), digits, epochs=2)
    assert (copy / epoch_name(0)).read_bytes() == before
    assert (copy / epoch_name(1)).stat().st_mtime_ns == good
    assert check_set(copy).sound


def test_a_link_among_the_labels_is_not_followed(copy, digits, tmp_path):
    outside = tmp_path / "outside"
    shutil.move(copy / epoch_name(0), outside)
    content = outside.read_bytes()
    (copy / epoch_name(0)).symlink_to(outside)
    refused(lambda: LabelStore(WrittenSet(copy)).batch(0, torch.arange(4)))
    label_set(WrittenSet(copy), digits, epochs=2)
    assert outside.read_bytes() == content
    assert not (copy / epoch_name(0)).is_symlink()
    LabelStore(WrittenSet(copy)).batch(0, torch.arange(4))


def change_labels(directory):
    path = directory / shard_name(0)
    columns = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(columns | {"labels": columns["labels"] + 10}, path)
    known = digest(path)
    change_json(directory / MANIFEST, lambda m: m["shards"][0].update(sha256=known))


@pytest.mark.parametrize("damage", [lambda set_: flip_a_bit(set_ / shard_name(0)), change_labels])
def test_nothing_is_made_of_a_shard_that_has_changed(copy, tmp_path, capsys, damage):
    damage(copy)
    before = (copy / MANIFEST).read_bytes()
    out = ["--out", str(tmp_path / "out")]
    for words in (
        ["distill", f"set:{copy}", STUDENT, "--steps", "2", *out],
        ["distill", TEACHER, STUDENT, "--images", f"set:{copy}", "--steps", "2", *out],
        ["dataset", "label", str(copy), "--teacher", TEACHER],
        ["dataset", "merge", str(copy)],
        ["dataset", "select", str(copy), "--keep", "10", *out],
        ["dataset", "show", str(copy)],
        ["dataset", "quality", str(copy)],
        *(["dataset", "export", str(copy), "--to", kind, *out] for kind in ("folder", "parquet")),
    ):
        assert main(words) == 2, words
        line = capsys.readouterr().err
        assert shard_name(0) in line
        assert line.count("\n") == 1
    assert (copy / MANIFEST).read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_answers_that_are_no_numbers_are_not_learned_from(copy):
    path = copy / shard_name(0)
    columns = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(columns | {"logits": columns["logits"] * torch.nan}, path)
    known = digest(path)
    change_json(copy / MANIFEST, lambda m: m["shards"][0].update(sha256=known))
    assert "finite" in refused(lambda: LabelStore(WrittenSet(copy)))
    assert main(["dataset", "merge", str(copy)]) == 2


def test_code_that_a_manifest_names_is_not_run(copy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()\ndef make(): ...\n")
    (copy / LABELS).unlink()
    for source in ("evil.py:make", "evil:make", "x" * 5000, "a\nb"):
        change_json(copy / MANIFEST, lambda m, s=source: m["teachers"][0].update(source=s))
        assert main(["dataset", "label", str(copy), "--epochs", "1"]) == 2
        line = capsys.readouterr().err
        assert "--teacher" in line
        assert len(line) <= 310
        assert line.count("\n") == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"per_class": 2.5}, "per_class"),
        ({"per_class": "2"}, "per_class"),
        ({"count": 10, "priors": "1" * 10}, "priors"),
        ({"count": 10, "priors": [None] * 10}, "priors"),
        ({"per_class": 1, "classes": ["a"]}, "classes"),
        ({"per_class": 1, "classes": "12"}, "classes"),
        ({"per_class": 1, "classes": 3}, "classes"),
        ({"per_class": 1, "classes": [1.5]}, "classes"),
        ({"per_class": 1, "mixtures": "x"}, "mixtures"),
        ({"per_class": 1, "mixtures": None}, "mixtures"),
        ({"per_class": 1, "steps": "3"}, "steps"),
        ({"per_class": 1, "shard_size": 1.5}, "shard_size"),
        ({"per_class": 1, "seed": None}, "seed"),
        ({"per_class": 1, "method": None}, "method"),
        ({"count": 99_999_999, "shard_size": 99_999_999}, "shard_size"),
        ({"count": 10**10, "shard_size": 10**6}, "count"),
        ({"count": 10**12}, "shard_size"),
    ],
)
def test_an_order_of_other_types_or_of_no_size_is_refused_by_name(digits, tmp_path, given, named):
    out = tmp_path / "out"
    assert f"`{named}`" in refused(lambda: dfkd.synthesize(digits, output=out, **given))
    assert not out.exists()


@pytest.mark.parametrize("teacher", [[], None, TEACHER, [None], torch.nn.Identity()])
def test_what_is_no_teacher_is_refused(tmp_path, teacher):
    line = refused(lambda: dfkd.synthesize(teacher, output=tmp_path / "out", per_class=1))
    assert "teacher" in line


def test_numbers_of_other_libraries_are_numbers(digits, tmp_path):
    made = dfkd.synthesize(
        digits, output=tmp_path / "out", count=np.int64(3), classes=torch.tensor([1, 2]),
        priors=np.array([2.0, 1.0]), steps=2,
    )  # fmt: skip
    assert made.dataset.column("labels").bincount().tolist() == [0, 2, 1]


@pytest.mark.parametrize("name", ["x" * 300, "y/" * 3000, "nul\0", "\udcff"])
def test_a_name_that_cannot_be_written_is_refused_before_any_work(digits, tmp_path, name):
    line = refused(lambda: dfkd.synthesize(digits, output=tmp_path / name, per_class=1))
    assert "`output`" in line
    assert not list(tmp_path.iterdir())


def test_settings_of_views_are_named_as_parameters():
    assert "`light`" in refused(lambda: ViewConfig(light=float("nan")))
    assert "`crop`" in refused(lambda: ViewConfig(crop="half"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--image", "1x8x8"], "--image"),
        (["--mean", "0.5"], "--mean"),
        (["--class-names", "names"], "--class-names"),
        (["--recompute"], "--recompute"),
    ],
)
def test_what_a_set_would_ignore_is_refused(copy, tmp_path, capsys, words, named):
    out = ["--out", str(tmp_path / "run"), "--steps", "2"]
    assert main(["distill", f"set:{copy}", STUDENT, *out, *words]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_so_many_processes_are_not_started(tmp_path, capsys):
    words = ["--out", str(tmp_path / "set"), "--per-class", "1", "--devices", "100000"]
    assert main(["synthesize", TEACHER, *words]) == 2
    assert "--devices" in capsys.readouterr().err


def test_workers_that_stay_see_the_next_epoch(labelled):
    batches = SetBatches(WrittenSet(labelled), 4)
    loader = DataLoader(batches, batch_size=None, num_workers=1, persistent_workers=True)
    for epoch in range(3):
        batches.set_epoch(epoch)
        read = torch.cat([batch["index"] for batch in loader])
        assert torch.equal(read, batches.order())


def test_ranks_that_are_none_are_refused(labelled):
    refused(lambda: SetBatches(WrittenSet(labelled), 4, world_size=0))


def test_a_full_disk_ends_labelling_in_a_line(copy, digits, monkeypatch):
    before = (copy / epoch_name(0)).read_bytes()

    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr(shards, "save_file", full)
    line = refused(lambda: label_set(WrittenSet(copy), digits, epochs=3))
    assert "No space left on device" in line
    assert (copy / epoch_name(0)).read_bytes() == before


def test_a_teacher_that_the_method_cannot_ask_leaves_no_plan_behind(tmp_path):
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    teacher = Teacher(nn.Sequential(*layers), ImageSpec(1, 8, 8))
    out = tmp_path / "out"
    line = refused(lambda: dfkd.synthesize(teacher, output=out, per_class=1, steps=2))
    assert "`method=drawings`" in line
    assert not out.exists()


def test_a_long_list_of_choices_stays_a_line(tmp_path):
    refused(lambda: dfkd.recipe("set:xxxxxxxxxxxxxxxxxxx"))
