"""Exports are read back by the tools that they are for, every pixel as it was."""

import io
import json
import os
import re
import sys
import tarfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets import DatasetFolder, ImageFolder
from torchvision.transforms import PILToTensor

from dfkd.cli import main
from dfkd.errors import DfkdError
from dfkd.sets.exports import EXPORTERS, CalibrationInputs, calibration_loader, export_set
from dfkd.sets.exports.calibration import balanced_choice
from dfkd.sets.exports.naming import distinct_names
from dfkd.tasks.labels import directory_names
from support.handed_on import channels_first, check_same_images, write_set


@pytest.fixture
def data(tmp_path):
    return write_set(tmp_path / "set")


def in_order(folder):
    """Return what torchvision reads, in the order of the set."""
    places = [int(os.path.basename(path).split(".")[0]) for path, _ in folder.samples]
    return [folder[i] for i in np.argsort(places)]


@pytest.mark.parametrize("channels", [1, 3])
def test_torchvision_reads_the_folder_and_counts_classes_alike(tmp_path, channels):
    data = write_set(tmp_path / "set", (channels, 6, 5))
    assert export_set(data, "folder", tmp_path / "out") == []
    rows = in_order(ImageFolder(tmp_path / "out", PILToTensor()))
    check_same_images(data, (image[:channels].numpy() for image, _ in rows), (n for _, n in rows))


def test_channels_that_no_png_holds_are_arrays(tmp_path):
    data = write_set(tmp_path / "set", (5, 4, 3))
    (remark,) = export_set(data, "folder", tmp_path / "out")
    assert "npy" in remark
    rows = in_order(DatasetFolder(str(tmp_path / "out"), np.load, (".npy",)))
    check_same_images(data, (image for image, _ in rows), (label for _, label in rows))


def test_the_metadata_says_what_is_known(data, tmp_path):
    export_set(data, "folder", tmp_path / "out")
    lines = (tmp_path / "out/metadata.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["label"] for row in rows] == data.column("labels").tolist()
    assert [row["seed"] for row in rows] == data.column("seed").tolist()
    assert rows[1]["class_name"] == "CON"
    assert rows[1]["file_name"] == "1_CON/00001.png"
    assert torch.tensor([row["confidence"] for row in rows]).equal(data.column("confidence"))


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_webdataset_reads_the_tars(tmp_path, channels):
    webdataset = pytest.importorskip("webdataset")
    data = write_set(tmp_path / "set", (channels, 6, 5))
    export_set(data, "webdataset", tmp_path / "out")
    tars = sorted(map(str, (tmp_path / "out").glob("*.tar")))
    pictures = {1: "l8", 3: "rgb8", 4: "rgba8", 5: "rgb8"}[channels]
    ending = "npy" if channels == 5 else "png"
    read = webdataset.WebDataset(tars, shardshuffle=False).decode(pictures)
    rows = list(read.to_tuple(ending, "cls", "json", "logits.npy"))
    images = (row[0] if channels == 5 else channels_first(row[0]) for row in rows)
    check_same_images(data, images, (row[1] for row in rows))
    assert np.array_equal(np.stack([row[3] for row in rows]), data.column("logits").numpy())
    assert [row[2]["label"] for row in rows] == [row[1] for row in rows]


def test_tars_are_cut_and_numbered(data, tmp_path, monkeypatch):
    monkeypatch.setattr("dfkd.sets.exports.tar_shards._MOST_IMAGES", 5)
    export_set(data, "webdataset", tmp_path / "out")
    counts = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as tar:
            counts.append(sum(name.endswith(".cls") for name in tar.getnames()))
    assert counts == [5, 5, 2]


def test_arrow_reads_the_tables_and_what_hugging_face_asks_for(data, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    from PIL import Image

    monkeypatch.setattr("dfkd.sets.exports.parquet._FILE_BYTES", 8 * 90)
    export_set(data, "parquet", tmp_path / "out")
    paths = sorted((tmp_path / "out").glob("*.parquet"))
    assert [p.name for p in paths] == [f"train-0000{i}-of-00002.parquet" for i in range(2)]
    rows = [row for path in paths for row in parquet.read_table(path).to_pylist()]
    streams = (io.BytesIO(row["image"]["bytes"]) for row in rows)
    images = [channels_first(Image.open(stream)) for stream in streams]
    check_same_images(data, images, (row["label"] for row in rows))
    assert torch.tensor([row["logits"] for row in rows]).equal(data.column("logits").float())
    told = json.loads(parquet.read_schema(paths[0]).metadata[b"huggingface"])["info"]["features"]
    assert told["image"] == {"_type": "Image"}
    assert told["label"]["names"] == list(data.manifest.class_names)


def test_a_missing_pyarrow_is_one_line_with_the_command(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DfkdError, match=r"pip install 'dfkd\[data\]'"):
        export_set(data, "parquet", tmp_path / "out")
    assert os.listdir(tmp_path) == ["set"]


def test_calibration_inputs_are_what_the_network_takes(data, tmp_path):
    export_set(data, "calibration", tmp_path / "out", count=8)
    facts = json.loads((tmp_path / "out/calibration.json").read_text())
    assert sorted(facts["labels"]) == [0, 0, 1, 1, 2, 2, 3, 3]
    reader = CalibrationInputs(tmp_path / "out", "images", batch_size=3)
    read = np.concatenate([batch["images"] for batch in reader])
    loaded = torch.cat(list(calibration_loader(data, 8, batch_size=5)))
    assert torch.equal(torch.from_numpy(read), loaded)
    expected = (data.column("images")[:8].float() / 255 - 0.25) / 0.5
    assert torch.allclose(loaded, expected)
    assert reader.get_next() is None
    reader.rewind()
    assert len(reader.get_next()["images"]) == 3


@pytest.mark.parametrize("count", [0, 13])
def test_a_count_that_is_not_there_is_refused(data, tmp_path, count):
    with pytest.raises(DfkdError, match="12"):
        calibration_loader(data, count)
    with pytest.raises(DfkdError, match="12"):
        export_set(data, "calibration", tmp_path / "out", count=count)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.data())
def test_a_choice_is_as_even_as_the_labels_allow(labels, draw):
    count = draw.draw(st.integers(1, len(labels)))
    chosen = balanced_choice(labels, count)
    assert len(set(chosen)) == count
    taken = [sum(labels[i] == label for i in chosen) for label in range(5)]
    left = [labels.count(label) - own for label, own in enumerate(taken)]
    assert all(max(taken) - own <= 1 for own, rest in zip(taken, left, strict=True) if rest)


@given(st.lists(st.text(max_size=80), min_size=2, max_size=30))
def test_directories_are_safe_distinct_and_sort_as_the_classes(names):
    found = directory_names(names)
    assert sorted(found) == found
    assert len({name.casefold() for name in found}) == len(names)
    assert all(re.fullmatch(r"[0-9]+(_[A-Za-z0-9_-]+)?", name) for name in found)
    assert max(map(len, found)) < 70
    assert len(set(distinct_names(["a", "b", "a"]))) == 3


def croissant(place):
    return json.loads((place / "croissant.json").read_text("utf-8"))


def test_croissant_is_added_to_an_export_of_the_same_set_alone(data, tmp_path):
    pytest.importorskip("pyarrow")
    for kind in ("folder", "parquet"):
        export_set(data, kind, tmp_path / kind)
        export_set(data, "croissant", tmp_path / kind)
        fields = croissant(tmp_path / kind)["recordSet"][0]["field"]
        assert {"images/image", "images/label"} <= {one["@id"] for one in fields}
    with pytest.raises(DfkdError, match="overwrite"):
        export_set(data, "croissant", tmp_path / "folder")
    other = write_set(tmp_path / "other", (1, 4, 4))
    export_set(other, "folder", tmp_path / "third")
    with pytest.raises(DfkdError, match="another set"):
        export_set(data, "croissant", tmp_path / "third")
    assert not (tmp_path / "third/croissant.json").exists()


def test_nothing_is_written_over_what_is_there(data, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    for kind in EXPORTERS:
        with pytest.raises(DfkdError, match="not empty"):
            export_set(data, kind, tmp_path / "out")
        with pytest.raises(DfkdError, match=r"does not look like one|something else"):
            export_set(data, kind, tmp_path / "out", overwrite=True)
    assert os.listdir(tmp_path / "out") == ["mine.txt"]
    with pytest.raises(DfkdError, match="read"):
        export_set(data, "folder", data.directory)
    with pytest.raises(DfkdError, match="did you mean 'folder'"):
        export_set(data, "folders", tmp_path / "new")


@pytest.mark.parametrize("kind", ["folder", "webdataset", "parquet", "croissant", "calibration"])
def test_an_earlier_export_can_be_replaced_by_any_other(data, tmp_path, kind):
    pytest.importorskip("pyarrow")
    export_set(data, kind, tmp_path / "out")
    export_set(data, "folder", tmp_path / "out", overwrite=True)
    assert len(ImageFolder(tmp_path / "out")) == len(data)
    assert sorted(os.listdir(tmp_path)) == ["out", "set"]


@pytest.mark.parametrize("kind", ["folder", "webdataset", "calibration", "parquet"])
def test_a_disk_that_fills_leaves_nothing_behind(data, tmp_path, monkeypatch, kind):
    pytest.importorskip("pyarrow")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dfkd.sets.exports.samples.Image.Image.save", full)
    monkeypatch.setattr("dfkd.sets.exports.calibration.np.save", full)
    with pytest.raises(DfkdError, match="No space left") as caught:
        export_set(data, kind, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["set"]


def test_the_command_says_what_it_did(data, tmp_path, capsys):
    words = ["dataset", "export", str(data.directory), "--to", "folder", "--out"]
    assert main([*words, str(tmp_path / "out")]) == 0
    assert "12 images" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "--overwrite" in told
    assert told.count("\n") == 1


@pytest.mark.slow
def test_hugging_face_reads_folder_and_tables(data, tmp_path):
    datasets = pytest.importorskip("datasets.load")  # the name alone is a folder of tests, too
    for kind in ("folder", "parquet"):
        export_set(data, kind, tmp_path / kind)
    cache = str(tmp_path / "cache")
    folder = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "folder"), split="train", cache_dir=cache
    )
    rows = sorted(folder, key=lambda row: os.path.basename(row["image"].filename))
    tables = datasets.load_dataset(str(tmp_path / "parquet"), split="train", cache_dir=cache)
    assert tables.features["label"].names == list(data.manifest.class_names)
    for found in (rows, list(tables)):
        images = [channels_first(row["image"]) for row in found]
        check_same_images(data, images, (row["label"] for row in found))


@pytest.mark.slow
@pytest.mark.parametrize("beside", ["folder", "parquet"])
def test_mlcroissant_validates_and_reads_records(data, tmp_path, beside):
    mlcroissant = pytest.importorskip("mlcroissant")
    export_set(data, beside, tmp_path / "out")
    export_set(data, "croissant", tmp_path / "out")
    found = mlcroissant.Dataset(jsonld=str(tmp_path / "out/croissant.json"))
    assert not found.metadata.ctx.issues.errors
    rows = list(found.records("images"))
    if beside == "folder":
        rows.sort(key=lambda row: row["images/file_name"].split(b"/")[-1])
    images = [channels_first(row["images/image"]) for row in rows]
    check_same_images(data, images, (row["images/label"] for row in rows))


@pytest.mark.slow
def test_onnxruntime_quantises_with_the_inputs(data, tmp_path):
    quantization = pytest.importorskip("onnxruntime.quantization")
    pytest.importorskip("onnx")
    import onnxruntime

    export_set(data, "calibration", tmp_path / "out", count=8)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(96, 4)
    )
    inputs = torch.cat(list(calibration_loader(data, 12)))
    plain, small = str(tmp_path / "plain.onnx"), str(tmp_path / "small.onnx")
    axes = {"images": {0: "n"}}
    torch.onnx.export(
        network, (inputs[:1],), plain, dynamo=False, input_names=["images"], dynamic_axes=axes
    )
    reader = CalibrationInputs(tmp_path / "out", "images")
    assert isinstance(reader, quantization.CalibrationDataReader)
    quantization.quantize_static(plain, small, reader)
    session = onnxruntime.InferenceSession(small, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": inputs.numpy()})
    expected = network(inputs).detach()
    worst = (torch.from_numpy(found) - expected).abs().max() / (expected.max() - expected.min())
    assert 0 < worst < 0.1


@pytest.mark.slow
def test_torchao_quantises_with_the_loader(data):
    pt2e = pytest.importorskip("torchao.quantization.pt2e.quantize_pt2e")
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(96, 4)
    ).eval()
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    batches = list(calibration_loader(data, 12, batch_size=4))
    prepared = pt2e.prepare_pt2e(torch.export.export(network, (batches[0],)).module(), quantizer)
    with torch.no_grad():
        for batch in batches:
            prepared(batch)
        found, expected = pt2e.convert_pt2e(prepared)(batches[0]), network(batches[0])
    worst = (found - expected).abs().max() / (expected.max() - expected.min())
    assert 0 < worst < 0.1
