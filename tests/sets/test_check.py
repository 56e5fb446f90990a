"""Damaged sets: each damage is found by its name, and is mended to the byte or refused."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import dfkd
from dfkd.cli.entry import main
from dfkd.datasets.written.manifest import read_manifest, write_manifest
from dfkd.datasets.written.shards import digest, shard_name
from dfkd.errors import DfkdError
from dfkd.sets.check import check_set
from dfkd.sets.duplicates import copies, look_alikes, low_frequencies, nearest_earlier
from dfkd.sets.order import SetOrder
from dfkd.sets.order_again import order_of
from dfkd.sets.plan import Maker, outline, settle_plan
from dfkd.sets.repair import repair_set
from dfkd.sets.synthesize import recipe_for
from support.inversion import teacher as colour_teacher

TEACHER = colour_teacher()
QUICK = recipe_for("natural", TEACHER).with_(synthesizer={"flip": 0.0})
LAST = 2  # shards 0 to 2


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "set"
    dfkd.synthesize(TEACHER, output=path, method=QUICK, per_class=2, steps=30, shard_size=4)
    return path


@pytest.fixture
def directory(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "set")


def shard(path, index=1):
    return path / shard_name(index)


def edit(path, change):
    """Change the values of a manifest."""
    file = path / "manifest.json"
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def rewrite(path, index=1, signed=False, **columns):
    """Give a shard other columns; ``signed``: and the manifest its new checksum."""
    rows = load_file(shard(path, index)) | columns
    save_file({name: rows[name].contiguous() for name in sorted(rows)}, shard(path, index))
    if signed:
        sums = digest(shard(path, index))
        edit(path, lambda values: values["shards"][index].update(sha256=sums))


def image_of(path, value, row=1):
    images = load_file(shard(path))["images"]
    images[row] = value(images) if callable(value) else value
    return {"images": images, "signed": True}


def flip(path, place, index=1, bit=0):
    content = bytearray(shard(path, index).read_bytes())
    content[place] ^= 1 << bit
    shard(path, index).write_bytes(content)


def as_link(path, name, elsewhere):
    target = path.parent / elsewhere
    os.rename(path / name, target)
    (path / name).symlink_to(target)


def reopen(path):
    """Make a closed set an open one again."""
    manifest = read_manifest(path)
    bare = tuple(replace(one, sha256=None) for one in manifest.shards)
    write_manifest(path, replace(manifest, complete=False, shards=bare))


def swap(path):
    reopen(path)
    rows = [shard(path, i).read_bytes() for i in (0, 1)]
    for i in (0, 1):
        shard(path, i).write_bytes(rows[1 - i])


def cut(path, keep):
    shard(path).write_bytes(shard(path).read_bytes()[:keep])


def fewer(path):
    rows = {name: values[:3] for name, values in load_file(shard(path)).items()}
    save_file(rows, shard(path))


def labelled(values):
    return torch.tensor(values)


MENDED, STAYS = "mended", "stays"
DAMAGES = {
    "no manifest": (lambda d: (d / "manifest.json").unlink(), "manifest missing", STAYS),
    "manifest cut": (
        lambda d: (d / "manifest.json").write_text((d / "manifest.json").read_text()[:900]),
        "manifest damaged",
        STAYS,
    ),
    "manifest of nonsense": (
        lambda d: (d / "manifest.json").write_bytes(b"\xff\x00"),
        "manifest damaged",
        STAYS,
    ),
    "another format": (
        lambda d: edit(d, lambda v: v.update(format="other 2")),
        "manifest format",
        STAYS,
    ),
    "manifest is a link": (lambda d: as_link(d, "manifest.json", "kept.json"), "link", STAYS),
    "negative counts": (
        lambda d: edit(
            d, lambda v: (v["classes"][0].update(count=-2), v["classes"][1].update(count=6))
        ),
        "manifest damaged",
        STAYS,
    ),
    "immense counts": (
        lambda d: edit(
            d,
            lambda v: (
                v["classes"][0].update(count=10**30),
                v["shards"][0].update(count=10**30 - 2 + 4),
            ),
        ),
        "manifest damaged",
        STAYS,
    ),
    "class counts": (
        lambda d: edit(
            d, lambda v: (v["classes"][0].update(count=1), v["classes"][1].update(count=3))
        ),
        "class counts",
        STAYS,
    ),
    "no checksums": (
        lambda d: edit(d, lambda v: v["shards"][1].update(sha256=None)),
        "checksums missing",
        STAYS,
    ),
    "other seed": (lambda d: edit(d, lambda v: v.update(seed=9)), "plan", STAYS),
    "other settings": (
        lambda d: edit(d, lambda v: v["recipe"]["settings"].update(iterations=10**9)),
        "plan",
        STAYS,
    ),
    "shard missing": (lambda d: shard(d).unlink(), "missing", MENDED),
    "all shards missing": (lambda d: shutil.rmtree(d / "shards"), "missing", MENDED),
    "shard is a link": (lambda d: as_link(d, shard_name(1), "kept.safetensors"), "link", MENDED),
    "shard is a folder": (lambda d: (shard(d).unlink(), shard(d).mkdir()), "no file", STAYS),
    "data bit": (lambda d: flip(d, -1), "checksum", MENDED),
    "header bit": (lambda d: flip(d, 9), "header", MENDED),
    "length bit": (lambda d: flip(d, 7, bit=6), "header", MENDED),
    "truncated": (lambda d: cut(d, -1), "truncated", MENDED),
    "cut in the header": (lambda d: cut(d, 100), "truncated", MENDED),
    "empty": (lambda d: cut(d, 0), "truncated", MENDED),
    "longer": (lambda d: shard(d).write_bytes(shard(d).read_bytes() + b"\0"), "length", MENDED),
    "an image too few": (fewer, "count", MENDED),
    "image size": (
        lambda d: rewrite(d, images=torch.zeros(4, 3, 12, 11, dtype=torch.uint8)),
        "image size",
        MENDED,
    ),
    "image type": (lambda d: rewrite(d, images=torch.zeros(4, 3, 12, 12)), "image size", MENDED),
    "classes of the logits": (
        lambda d: rewrite(d, logits=torch.zeros(4, 5, dtype=torch.half)),
        "logits",
        MENDED,
    ),
    "labels of another type": (lambda d: rewrite(d, labels=torch.zeros(4)), "columns", MENDED),
    "label out of range": (
        lambda d: rewrite(d, signed=True, labels=labelled([0, 1, 2, 6])),
        "labels",
        STAYS,
    ),
    "labels of another order": (
        lambda d: rewrite(d, signed=True, labels=load_file(shard(d))["labels"].flip(0)),
        "labels",
        STAYS,
    ),
    "logits not finite": (
        lambda d: rewrite(d, signed=True, logits=torch.full((4, 6), torch.nan).half()),
        "values",
        STAYS,
    ),
    "other seeds": (lambda d: rewrite(d, signed=True, seed=labelled([5] * 4)), "seed", STAYS),
    "shards exchanged": (swap, "seed", MENDED),
    "constant": (lambda d: rewrite(d, **image_of(d, 77)), "constant", STAYS),
    "saturated": (
        lambda d: rewrite(d, **image_of(d, lambda x: (x[1] > x[1].float().mean()) * 255)),
        "saturated",
        STAYS,
    ),
    "copy": (lambda d: rewrite(d, **image_of(d, lambda x: x[3])), "duplicates", STAYS),
    "brighter copy": (
        lambda d: rewrite(d, **image_of(d, lambda x: (x[3] * 0.9 + 9).byte())),
        "near-duplicates",
        STAYS,
    ),
    "leftover": (
        lambda d: (d / "shards/00001.safetensors.abcd1234.part").touch(),
        "leftover",
        MENDED,
    ),
    "claims left over": (
        lambda d: ((d / "work").mkdir(), (d / "work/00001.claim").touch()),
        "leftover",
        MENDED,
    ),
    "stranger": (lambda d: (d / "notes.txt").touch(), "stranger", STAYS),
    "shard too many": (lambda d: shutil.copy(shard(d), shard(d, 7)), "stranger", STAYS),
}


def stamp(path, index):
    found = shard(path, index).stat()
    return found.st_ino, found.st_mtime_ns


def content(path):
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_found_by_name_and_mended_or_left(sound, directory, name):
    damage, kind, outcome = DAMAGES[name]
    damage(directory)
    before = content(directory)
    found = check_set(directory)
    assert kind in {one.kind for one in found.findings}, found.findings
    assert all(len(str(one)) <= 300 and "\n" not in str(one) for one in found.findings)
    assert content(directory) == before  # a check writes nothing
    mine = [one for one in found.findings if one.kind == kind]
    assert all(one.mends == (outcome == MENDED) for one in mine)
    left = repair_set(directory, teacher=TEACHER)
    if outcome == MENDED:
        assert left.sound, left.findings
        made = {path: data for path, data in content(directory).items() if "man" not in path.name}
        assert made.items() <= content(sound).items()
        assert len(made) == LAST + 1
        for index, entry in enumerate(read_manifest(directory).shards):
            assert entry.sha256 in (None, digest(shard(directory, index)))
    else:
        assert kind in {one.kind for one in left.findings}
        assert content(directory) == before


def test_a_sound_set_gives_no_finding_open_or_closed(sound, directory):
    for given_teacher in (None, TEACHER):
        found = check_set(sound, given_teacher)
        assert found.sound, found.findings
        assert (found.images, found.shards, found.planned, found.complete) == (12, 3, 3, True)
    assert found.answered == 12
    reopen(directory)
    shard(directory).unlink()  # somebody may be making it
    (directory / "shards/00001.safetensors.abcd1234.part").touch()
    found = check_set(directory, TEACHER)
    assert found.sound, found.findings
    assert (found.images, found.shards, found.complete) == (8, 2, False)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_changed_byte_of_every_shard_is_found(directory, data):
    path = shard(directory, data.draw(st.integers(0, LAST)))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    try:
        path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
        found = check_set(directory)
        assert [one.shards for one in found.findings] == [(int(path.stem),)]
        assert found.findings[0].mends
    finally:
        path.write_bytes(whole)


def test_good_shards_are_not_touched_and_a_link_s_target_stays(directory):
    as_link(directory, shard_name(1), "kept.safetensors")
    kept = (directory.parent / "kept.safetensors").read_bytes()
    times = [stamp(directory, i) for i in (0, 2)]
    assert repair_set(directory, teacher=TEACHER).sound
    assert [stamp(directory, i) for i in (0, 2)] == times
    assert not shard(directory).is_symlink()
    assert (directory.parent / "kept.safetensors").read_bytes() == kept


@pytest.mark.parametrize("place", ["shards", "."])
def test_nothing_is_written_outside_the_directory(directory, place):
    shard(directory).unlink()
    if place == "shards":
        as_link(directory, "shards", "elsewhere")
        assert "link" in {one.kind for one in check_set(directory).findings}
    else:
        (directory.parent / "name").symlink_to(directory)
        directory = directory.parent / "name"
    with pytest.raises(DfkdError, match=r"is a link, and nothing outside"):
        repair_set(directory, teacher=TEACHER)
    assert not shard(directory).exists()


def test_the_teacher_is_the_set_s_or_is_refused(directory):
    other = colour_teacher()
    with torch.no_grad():
        other.network[0].weight[0] += 1
    with pytest.raises(DfkdError, match="the set was made from another teacher"):
        check_set(directory, other)
    shard(directory).unlink()
    with pytest.raises(DfkdError, match=r"made from a module.*give that as `teacher`"):
        repair_set(directory)
    with pytest.raises(DfkdError, match="name that of a set"):
        check_set(directory / "nothing")


def test_answers_that_are_not_the_teacher_s_are_found(directory):
    logits = load_file(shard(directory))["logits"]
    rewrite(directory, signed=True, logits=logits * 1.004)  # rounded otherwise: still the same
    assert check_set(directory, TEACHER).sound
    logits[2] = logits[2].roll(1)
    rewrite(directory, signed=True, logits=logits)
    assert check_set(directory).sound  # nobody to ask
    (finding,) = check_set(directory, TEACHER).findings
    assert (finding.kind, finding.shards) == ("answers", (1,))
    assert "(rows 2)" in finding.line


def test_labels_that_the_teacher_does_not_share_are_found(tmp_path):
    dfkd.synthesize(TEACHER, output=tmp_path, method=QUICK, per_class=4, steps=1)
    shares = check_set(tmp_path)
    assert shares.sound
    assert shares.agreement < 0.5
    assert "agreement" in {one.kind for one in check_set(tmp_path, TEACHER).findings}


def test_a_manifest_runs_no_code(directory, tmp_path):
    marker = tmp_path / "ran"
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(marker)!r}, 'w')\ndef net():\n    return None\n")
    shard(directory).unlink()
    for source in (
        f"{code}:net",
        "os:getcwd",
        f"run:{tmp_path}?trust=True",
        "timm:x?pretrained=True",
    ):
        edit(directory, lambda values, source=source: values["teachers"][0].update(source=source))
        with pytest.raises(DfkdError, match="give that as `teacher`"):
            repair_set(directory)
    assert not marker.exists()


def test_a_source_that_is_known_is_loaded(tmp_path):
    teacher = dfkd.load_teacher("bundled:digits_vgg")
    order = SetOrder(QUICK, per_class=1, steps=2, shard_size=5)
    dfkd.synthesize(teacher, output=tmp_path, method=QUICK, per_class=1, steps=2, shard_size=5)
    whole = content(tmp_path)
    edit(tmp_path, lambda values: values["teachers"][0].update(source="bundled:digits_vgg"))
    shard(tmp_path, 0).unlink()
    assert repair_set(tmp_path).sound
    assert shard(tmp_path, 0).read_bytes() == whole[shard(tmp_path, 0).relative_to(tmp_path)]
    assert order_of(read_manifest(tmp_path)).identity() == order.identity()


def test_another_machine_s_bytes_are_refused_and_nothing_is_written(directory):
    edit(directory, lambda values: values["shards"][1].update(sha256="0" * 64))
    before = content(directory)
    with pytest.raises(DfkdError, match="shard 1 comes out with other bytes here"):
        repair_set(directory, teacher=TEACHER)
    assert content(directory) == before


def test_of_a_selection_no_shard_is_made_again(directory):
    edit(directory, lambda values: values.update(selected={"kept": 12, "of": 20}))
    assert check_set(directory).sound
    shard(directory).unlink()
    (finding,) = check_set(directory).findings
    assert not finding.mends
    assert not repair_set(directory, teacher=TEACHER).sound


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("natural", {"per_class": 3, "steps": 7}),
        ("natural", {"count": 20, "priors": (1.0, 2.0), "classes": (1, 4), "mixtures": 0.5}),
        ("sre2l", {"count": 9, "shard_size": 2, "seed": 5}),
        ("cda", {"per_class": 1}),
        ("redraw", {"per_class": 2, "steps": 3}),
        ("nayer", {"count": 12}),
    ],
)
def test_an_order_comes_back_from_its_manifest(tmp_path, method, asked):
    order = SetOrder(recipe_for(method, TEACHER), **asked)
    plan = settle_plan(tmp_path, order, [Maker(TEACHER)])
    again = order_of(plan)
    assert again == order
    assert plan.differences(outline(again, [Maker(TEACHER)])) == []


def test_the_nearest_earlier_vector_is_that_of_the_whole_matrix():
    torch.manual_seed(0)
    vectors = torch.randn(37, 5)
    cosines = torch.nn.functional.normalize(vectors)
    cosines = (cosines @ cosines.T).masked_fill(torch.ones(37, 37).triu().bool(), -1.0)
    for block in (1, 4, 37, 100):
        best, place = nearest_earlier(vectors, block)
        torch.testing.assert_close(best, cosines.max(1).values)
        assert torch.equal(place[1:], cosines.max(1).indices[1:])


def test_copies_are_told_from_other_images():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (30, 3, 16, 16), dtype=torch.uint8)
    changed = (images[:4].float() * 0.8 + 30).round().byte()
    noisy = (images[4:8].float() + 2 * torch.randn(4, 3, 16, 16)).clamp(0, 255).byte()
    every = torch.cat([images, changed, noisy])
    found = look_alikes(low_frequencies(every), torch.zeros(len(every), dtype=torch.long))
    assert found == {30 + i: i for i in range(8)}
    assert copies([one.numpy().tobytes() for one in every]) == {}


def test_the_command_tells_and_mends(directory, capsys, monkeypatch):
    monkeypatch.setattr(
        "dfkd.cli.dataset_check.load_maker", lambda manifest, uri, **told: colour_teacher()
    )
    words = ["dataset", "check", str(directory)]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("nothing found: 12 images read, 3 of 3 shards")
    shard(directory).unlink()
    assert main(words) == 1
    assert "missing: shards/00001.safetensors is not there" in capsys.readouterr().out
    assert main([*words, "--repair"]) == 2
    error = capsys.readouterr().err
    assert "give that as --teacher" in error
    assert error.count("\n") == 1
    assert main([*words, "--repair", "--teacher", "any"]) == 0
    assert "made again: 1 shard (1)" in capsys.readouterr().out
    for number in range(30):
        (directory / f"{number}.txt").touch()
    assert main(words) == 1
    out = capsys.readouterr().out
    assert out.count("stranger: ") == 20
    assert "… and 10 more" in out
