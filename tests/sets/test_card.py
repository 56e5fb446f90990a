"""A set's card: true to the set, and safe to show whatever the set's names are."""

import re
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

import dfkd
from dfkd.cli.entry import main
from dfkd.datasets.written import ClassEntry, SetManifest, ShardEntry, TeacherEntry
from dfkd.datasets.written.manifest import read_manifest, write_manifest
from dfkd.datasets.written.shards import shard_name, write_shard
from dfkd.errors import DfkdError
from dfkd.runs.run_entries import classify_entries
from dfkd.sets.card import write_card
from dfkd.sets.plan import SET


def written(directory, names, per_class=2, **columns):
    """Write a set of noise with one shard; the teacher is sure of every second label alone."""
    torch.manual_seed(0)
    labels = torch.arange(len(names)).repeat(per_class)
    logits = torch.nn.functional.one_hot(labels, len(names)).half() * 20
    logits[1::2] = logits[1::2].roll(1, 1)
    rows = {
        "images": torch.randint(0, 256, (len(labels), 3, 6, 5), dtype=torch.uint8),
        "labels": labels, "logits": logits, **columns,
    }  # fmt: skip
    sums = write_shard(directory / shard_name(0), rows)
    manifest = SetManifest(
        image=dfkd.ImageSpec(3, 6, 5),
        classes=tuple(ClassEntry(name, None, per_class) for name in names),
        teachers=(TeacherEntry("run:a|b`c", "ab" * 32),),
        recipe={"method": "elsewhere", "settings": {"lr": 0.5}},
        seed=3,
        shards=(ShardEntry(len(labels), 3, 0, sums),),
        complete=True,
        selected={"kept": len(labels), "of": 99, "by": "chance"},
        versions={"dfkd": "0"},
    )
    write_manifest(directory, manifest)
    return manifest


def test_a_card_tells_what_the_set_is(tmp_path):
    written(tmp_path, ["cat", "dog", "emu", "fox"])
    text = write_card(tmp_path).read_text("utf-8")
    assert text.startswith("# 8 synthetic images of 4 classes\n")
    for index, name in enumerate(("cat", "dog", "emu", "fox")):
        assert f"| {index} | {name} | 2 |" in text
    assert "| images that the teacher takes for their label | 50.0 % |" in text
    assert "| probability of the label, quartiles | 0.0 % to 100.0 % |" in text
    assert "| selected | 8 of 99 images, by chance |" in text
    assert "ab" * 32 in text
    assert "| seed | 3 |" in text
    assert "`lr=0.5`" in text
    assert "<details>" not in text
    assert "![" in text
    with Image.open(tmp_path / "card.png") as picture:
        assert picture.format == "PNG"
        assert picture.height > 4 * 100  # a row a class
    assert all(ours for _, ours in classify_entries(tmp_path, SET))
    assert main(["dataset", "check", str(tmp_path)]) == 0


def test_its_code_reads_the_set(tmp_path):
    written(tmp_path, ["cat", "dog"])
    text = write_card(tmp_path).read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.strip().splitlines()) == 6
    seen = {}
    exec(code.replace("PATH", str(tmp_path)), seen)
    assert seen["inputs"].shape == (4, 3, 6, 5)
    assert float(seen["inputs"].max()) <= 1


def test_many_classes_are_folded_away(tmp_path):
    written(tmp_path, [f"name {i}" for i in range(60)], per_class=1)
    text = write_card(tmp_path).read_text("utf-8")
    assert "<details><summary>60 classes, of 1 to 1 images each</summary>\n\n| class" in text
    assert "(20 of 60 classes)" in text
    assert "| 59 | name 59 | 1 |\n\n</details>" in text


def test_names_stay_text(tmp_path):
    hostile = ["<script>alert(1)</script>", "a|b\n| c", "[x](javascript:1)", "`" * 3, "\x1b[31m"]
    written(tmp_path, hostile)
    text = write_card(tmp_path).read_text("utf-8")
    assert "<script" not in text.replace("\\<script", "")
    assert "](javascript" not in text.replace("\\](javascript", "")
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if re.match(r"\| \d \|", line)]
    assert len(rows) == 5
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)
    assert "`run:a¦b'c`" in text


def test_a_damaged_or_open_set_gets_none(tmp_path):
    manifest = written(tmp_path / "set", ["cat", "dog"])
    with (tmp_path / "set" / shard_name(0)).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x07")
    with pytest.raises(DfkdError, match=r"damaged \(checksum.*--repair first"):
        write_card(tmp_path / "set")
    bare = tuple(replace(one, sha256=None) for one in manifest.shards)
    write_manifest(tmp_path / "set", replace(manifest, complete=False, shards=bare))
    with pytest.raises(DfkdError, match="not complete"):
        write_card(tmp_path / "set")
    assert {path.name for path in (tmp_path / "set").iterdir()} == {"manifest.json", "shards"}


def test_nothing_is_written_through_a_link(tmp_path):
    written(tmp_path / "set", ["cat", "dog"])
    (tmp_path / "card.md").write_text("mine")
    (tmp_path / "set/card.md").symlink_to(tmp_path / "card.md")
    with pytest.raises(DfkdError, match="link"):
        write_card(tmp_path / "set")
    assert (tmp_path / "card.md").read_text() == "mine"
    (tmp_path / "name").symlink_to(tmp_path / "set")
    with pytest.raises(DfkdError, match="is a link"):
        write_card(tmp_path / "name")


def test_a_card_of_a_made_set_names_its_recipe(tmp_path):
    teacher = dfkd.load_teacher("bundled:digits_vgg")
    path = tmp_path / "set"
    dfkd.synthesize(teacher, output=path, method="drawings", per_class=2, steps=2)
    text = write_card(path).read_text("utf-8")
    assert "`drawings`" in text
    assert teacher.fingerprint() in text
    assert "No real image had a part in the making." in text
    assert read_manifest(path).complete
    shutil.rmtree(path)
