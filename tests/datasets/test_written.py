"""Written datasets: shards, manifest, and readers that no worker or rank changes."""

import contextlib
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dfkd.datasets.written import (
    ClassEntry,
    SetBatches,
    SetManifest,
    ShardEntry,
    TeacherEntry,
    WrittenSet,
)
from dfkd.datasets.written.manifest import parse_manifest, read_manifest, write_manifest
from dfkd.datasets.written.shards import digest, shard_name, write_shard
from dfkd.errors import DfkdError
from dfkd.teacher.spec import ImageSpec

SIZES, CLASSES = (5, 4, 4), 3


def rows(count, seed=0, shape=(1, 6, 5)):
    generator = torch.Generator().manual_seed(seed)
    return {
        "images": torch.randint(256, (count, *shape), generator=generator, dtype=torch.uint8),
        "labels": torch.arange(count) % CLASSES,
        "logits": torch.randn(count, CLASSES, generator=generator).half(),
        "confidence": torch.rand(count, generator=generator),
    }


@pytest.fixture
def directory(tmp_path):
    parts = [rows(size, seed) for seed, size in enumerate(SIZES)]
    sums = [write_shard(tmp_path / shard_name(i), part) for i, part in enumerate(parts)]
    labels = torch.cat([part["labels"] for part in parts])
    plan = SetManifest(
        ImageSpec(1, 6, 5),
        tuple(ClassEntry(str(i), None, int((labels == i).sum())) for i in range(CLASSES)),
        (TeacherEntry("a module", "00"),),
        {"method": "x"},
        0,
        tuple(ShardEntry(size, 7) for size in SIZES),
    )
    write_manifest(tmp_path, plan.closed(sums))
    return tmp_path


def whole(name="images"):
    return torch.cat([rows(size, seed)[name] for seed, size in enumerate(SIZES)])


def test_every_row_comes_back_in_any_order(directory):
    data = WrittenSet(directory)
    assert len(data) == sum(SIZES)
    assert torch.equal(data.column("images"), whole())
    image, label = data[-1]
    assert torch.equal(image, whole()[-1])
    assert label == int(whole("labels")[-1])
    mixed = torch.tensor([12, 0, 5, 4, 5])
    found = data.rows(mixed, "logits", "confidence")
    assert torch.equal(found["logits"], whole("logits")[mixed])
    assert torch.equal(found["confidence"], whole("confidence")[mixed])
    with pytest.raises(IndexError):
        data[len(data)]


@pytest.mark.parametrize("workers", [0, 2])
def test_any_loader_takes_it(directory, workers):
    loader = DataLoader(WrittenSet(directory), batch_size=4, num_workers=workers)
    images, labels = zip(*loader, strict=True)
    assert torch.equal(torch.cat(images), whole())
    assert torch.equal(torch.cat(labels), whole("labels"))


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_batches_are_those_of_one_process_for_any_number_of_workers(directory, workers):
    batches = SetBatches(WrittenSet(directory), 4, seed=3)
    batches.set_epoch(2)
    found = [batch["index"] for batch in DataLoader(batches, batch_size=None, num_workers=workers)]
    assert [index.tolist() for index in found] == [
        index.tolist() for index in torch.split(batches.order(), 4)
    ]
    assert sorted(torch.cat(found).tolist()) == list(range(sum(SIZES)))


def test_ranks_share_the_same_batches(directory):
    data = WrittenSet(directory)
    ranks = [list(SetBatches(data, 4, rank=rank, world_size=2)) for rank in range(2)]
    alone = list(SetBatches(data, 4))
    for batch, parts in zip(alone, zip(*ranks, strict=False), strict=False):
        together = torch.cat([part["index"] for part in parts])
        assert sorted(together.tolist()) == sorted(batch["index"].tolist())
    assert torch.equal(alone[0]["images"], whole()[alone[0]["index"]])
    with pytest.raises(DfkdError, match="cannot share"):
        SetBatches(data, 5, world_size=2)


def test_epochs_have_orders_of_their_own(directory):
    batches = SetBatches(WrittenSet(directory), 4)
    first = batches.order()
    batches.set_epoch(1)
    assert not torch.equal(first, batches.order())


def test_the_same_rows_give_the_same_bytes(tmp_path):
    one, other = (tmp_path / name for name in ("a.safetensors", "b.safetensors"))
    backwards = dict(reversed(rows(3).items()))
    assert write_shard(one, rows(3)) == write_shard(other, backwards) == digest(one)
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": torch.zeros(3, dtype=torch.int32)}, "labels must not be"),
        ({"images": torch.zeros(3, 1, 6, 5)}, "images must not be"),
        ({"confidence": torch.zeros(2)}, "3 images and 2"),
        ({"confidence": torch.zeros(3, dtype=torch.complex64)}, "confidence must not be"),
    ],
)
def test_what_is_no_shard_is_not_written(tmp_path, change, says):
    with pytest.raises(DfkdError, match=says):
        write_shard(tmp_path / "x.safetensors", rows(3) | change)
    assert not list(tmp_path.iterdir())


def damage_count(directory):
    write_shard(directory / shard_name(0), rows(4))


def damage_size(directory):
    write_shard(directory / shard_name(0), rows(5, shape=(1, 5, 6)))


def damage_header(directory):
    path = directory / shard_name(0)
    path.write_bytes(b"\xff" * 16 + path.read_bytes()[16:])


def damage_end(directory):
    path = directory / shard_name(0)
    path.write_bytes(path.read_bytes()[:-40])


def damage_link(directory):
    path = directory / shard_name(0)
    path.rename(directory / "elsewhere")
    path.symlink_to(directory / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_count, "holds 4 images, and the manifest says 5"),
        (damage_size, "images should be"),
        (damage_header, "damaged"),
        (damage_end, "damaged"),
        (damage_link, "missing"),
        (lambda directory: (directory / shard_name(0)).unlink(), "missing"),
        (lambda directory: (directory / "manifest.json").write_text("{"), "damaged"),
        (lambda directory: (directory / "manifest.json").unlink(), "no synthetic dataset"),
    ],
)
def test_a_damaged_set_is_refused_in_a_line(directory, damage, says):
    damage(directory)
    with pytest.raises(DfkdError, match=says) as error:
        WrittenSet(directory)
    assert len(str(error.value)) <= 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(key=st.integers(0, 10), value=JSON)
def test_a_manifest_is_one_or_is_refused(tmp_path_factory, key, value):
    path = tmp_path_factory.getbasetemp() / "manifest.json"
    plan = SetManifest(
        ImageSpec(1, 6, 5), (ClassEntry("a", None, 1), ClassEntry("b", None, 1)),
        (TeacherEntry("m", "00"),), {}, 0, (ShardEntry(2, 7),),
    )  # fmt: skip
    values = json.loads(plan.to_text())
    assert parse_manifest(values, path) == plan
    values[list(values)[key]] = value
    with contextlib.suppress(DfkdError):
        assert parse_manifest(values, path).count == 2


def test_a_set_that_is_not_closed_says_how_it_is(directory):
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps(manifest | {"complete": False}))
    assert not read_manifest(directory).complete
    with pytest.raises(DfkdError, match="not complete"):
        WrittenSet(directory)
