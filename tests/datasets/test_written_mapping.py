"""Shards are mapped, not loaded: what is read of them is a copy, whatever is done with it."""

import pytest
import torch
from safetensors import SafetensorError
from torch.utils.data import DataLoader, Subset

from dfkd.datasets.written import SetBatches
from dfkd.datasets.written.shards import ShardFile, shard_name, write_shard
from support.handed_on import write_set

READERS = {
    "item": lambda data: data[3][0],
    "items": lambda data: data.__getitems__([3, 7])[0][0],
    "rows": lambda data: data.rows([3, 7])["images"],
    "column": lambda data: data.column("images"),
    "shard": lambda data: data.shard_rows(0)["images"],
    "batches": lambda data: next(iter(SetBatches(data, 5)))["images"],
}


def test_what_was_read_can_be_changed_and_the_set_stays(tmp_path):
    data = write_set(tmp_path)
    before = data.column("images")
    for read in READERS.values():
        read(data).fill_(9)
        assert torch.equal(data.column("images"), before)


def test_a_loader_reads_batches_as_it_reads_images_one_by_one(tmp_path):
    data = write_set(tmp_path)
    places = [11, 0, 5, 4, 8, 5]
    ((images, labels),) = DataLoader(Subset(data, places), batch_size=6)
    assert torch.equal(images, torch.stack([data[i][0] for i in places]))
    assert labels.tolist() == [data[i][1] for i in places]


def test_opening_a_shard_reads_no_pixel(tmp_path):
    write_set(tmp_path, (3, 6, 5))
    file = ShardFile(tmp_path / shard_name(0), (3, 6, 5), 4, 5)
    one, other = (file.mapped("images")[i].data_ptr() for i in (0, 3))
    assert other - one == 3 * 90
    assert file.read("images", 0, 1).data_ptr() != one


def test_a_full_disk_is_an_error_of_the_system(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    rows = write_set(tmp_path / "set").shard_rows(0)
    monkeypatch.setattr("dfkd.datasets.written.shards.save_file", full)
    with pytest.raises(OSError, match=r"^No space left on device$"):
        write_shard(tmp_path / "new/00000.safetensors", rows)
    assert not list((tmp_path / "new").iterdir())
